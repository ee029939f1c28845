//! The permits for database connections. All components together have `[outbound_pg] max_connections` permits, which are granted in the order
//! of arrival. Once the oldest waiter has waited longer than [`TOO_LONG`], new requests are refused. They would probably wait until their
//! timeout, and an immediate refusal is better.
//!
//! In Spin, requests are never refused, so the queue has no limit.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::lock::lock;

/// Once the oldest waiter has waited for this long, new requests are refused. The value is half of the component's default connect timeout.
const TOO_LONG: Duration = Duration::from_secs(1);

/// The permits and the queue for them.
#[derive(Clone, Debug)]
pub struct Permits {
    free: Arc<Semaphore>,
    queue: Arc<Mutex<Queue>>,
}

/// The waiters, with the time at which each began to wait.
#[derive(Debug, Default)]
struct Queue {
    last: u64,
    waiting: BTreeMap<u64, Instant>,
}

impl Permits {
    /// Creates `count` permits.
    pub fn new(count: usize) -> Self {
        Self {
            free: Arc::new(Semaphore::new(count)),
            queue: Arc::default(),
        }
    }

    /// Returns a permit as soon as it's this caller's turn, or the reason for a refusal.
    pub async fn acquire(&self) -> Result<OwnedSemaphorePermit, String> {
        // The semaphore gives a released permit to the first waiter. So if a permit is free, no request waits for one. The queue isn't checked
        // then, because it may still contain a waiter that has its permit, but hasn't run yet.
        if let Ok(permit) = self.free.clone().try_acquire_owned() {
            return Ok(permit);
        }
        let waiting = Waiting::begin(self)?;
        let permit = self.free.clone().acquire_owned().await;
        drop(waiting);
        Ok(permit.expect("nobody closes it"))
    }
}

/// An entry in the queue, which is removed on drop, because a guest may abandon its request.
struct Waiting<'a> {
    permits: &'a Permits,
    number: u64,
}

impl<'a> Waiting<'a> {
    fn begin(permits: &'a Permits) -> Result<Self, String> {
        let now = Instant::now();
        let mut queue = lock(&permits.queue);
        if let Some((_, first)) = queue.waiting.first_key_value() {
            let waited = now.duration_since(*first);
            if waited > TOO_LONG {
                return Err(format!(
                    "too many requests wait for a connection: {} of them, the first for {} ms",
                    queue.waiting.len(),
                    waited.as_millis()
                ));
            }
        }
        queue.last += 1;
        let number = queue.last;
        queue.waiting.insert(number, now);
        Ok(Self { permits, number })
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        lock(&self.permits.queue).waiting.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use std::{
        pin::pin,
        task::{Context, Poll, Waker},
    };

    use super::*;

    #[test]
    fn requests_are_refused_once_the_oldest_waiter_has_waited_too_long() {
        let permits = Permits::new(1);
        let ask = |of: &Permits| {
            let asked = pin!(of.acquire());
            asked
                .poll(&mut Context::from_waker(Waker::noop()))
                .map_ok(drop)
        };
        let Poll::Ready(Ok(held)) =
            pin!(permits.acquire()).poll(&mut Context::from_waker(Waker::noop()))
        else {
            panic!("there's one")
        };
        let mut first = Box::pin(permits.acquire());
        assert!(
            first
                .as_mut()
                .poll(&mut Context::from_waker(Waker::noop()))
                .is_pending()
        );
        assert!(ask(&permits).is_pending(), "the first has just come");
        for began in lock(&permits.queue).waiting.values_mut() {
            *began -= 2 * TOO_LONG;
        }
        let Poll::Ready(Err(refusal)) = ask(&permits) else {
            panic!("the first has waited too long")
        };
        assert!(refusal.contains("1 of them"), "{refusal}");
        // After the first waiter has left, the queue is empty.
        drop(first);
        assert!(ask(&permits).is_pending());
        drop(held);
        assert!(matches!(ask(&permits), Poll::Ready(Ok(()))));
    }
}
