//! The permits to hold a connection: as many as `[outbound_pg] max_connections`, for all components together, given in the
//! order they're asked for. Where whoever is next has waited for long already, nobody more is let into the queue: a request
//! that's refused at once is better off than one that waits until its time is over, and so are those before it.
//!
//! Spin lets them queue without end.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Who is next has waited for so long: half of what the component waits by default.
const TOO_LONG: Duration = Duration::from_secs(1);

/// See above.
#[derive(Clone, Debug)]
pub struct Permits {
    free: Arc<Semaphore>,
    queue: Arc<Mutex<Queue>>,
}

/// Who waits, and since when.
#[derive(Debug, Default)]
struct Queue {
    last: u64,
    waiting: BTreeMap<u64, Instant>,
}

/// Nobody more is let in.
#[derive(Debug, PartialEq, Eq)]
pub struct Crowded {
    waiting: usize,
    waited: Duration,
}

impl std::fmt::Display for Crowded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "too many requests wait for a connection: {} of them, the first for {} ms",
            self.waiting,
            self.waited.as_millis()
        )
    }
}

impl Permits {
    /// So many.
    pub fn new(count: usize) -> Self {
        Self {
            free: Arc::new(Semaphore::new(count)),
            queue: Arc::default(),
        }
    }

    /// One of them, as soon as it's this caller's turn.
    pub async fn acquire(&self) -> Result<OwnedSemaphorePermit, Crowded> {
        // None is free while anyone waits. Whoever has got his and doesn't look yet keeps nobody out.
        if let Ok(permit) = self.free.clone().try_acquire_owned() {
            return Ok(permit);
        }
        let waiting = Waiting::begin(self)?;
        let permit = self.free.clone().acquire_owned().await;
        drop(waiting);
        Ok(permit.expect("nobody closes it"))
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        // Whatever another holder did, the numbers are whole.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place in the queue, until it's dropped: the guest may have given up.
struct Waiting<'a> {
    permits: &'a Permits,
    number: u64,
}

impl<'a> Waiting<'a> {
    fn begin(permits: &'a Permits) -> Result<Self, Crowded> {
        let now = Instant::now();
        let mut queue = permits.queue();
        if let Some((_, first)) = queue.waiting.first_key_value() {
            let waited = now.duration_since(*first);
            if waited > TOO_LONG {
                let waiting = queue.waiting.len();
                return Err(Crowded { waiting, waited });
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
        self.permits.queue().waiting.remove(&self.number);
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
    fn behind_one_that_has_waited_for_long_nobody_queues() {
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
        for began in permits.queue().waiting.values_mut() {
            *began -= 2 * TOO_LONG;
        }
        assert!(matches!(
            ask(&permits),
            Poll::Ready(Err(Crowded { waiting: 1, .. }))
        ));
        // It gives up: the queue is empty.
        drop(first);
        assert!(ask(&permits).is_pending());
        drop(held);
        assert!(matches!(ask(&permits), Poll::Ready(Ok(()))));
    }
}
