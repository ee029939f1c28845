//! How many requests are in instances at the same time. Where the processor is what's short, more than a few for each core
//! get nothing done sooner, and each works on memory of its own that the others push out of the caches: with a hundred at
//! once, a third fewer requests/s. Where they wait for something else, a slow database or a slow client, none should be
//! kept out. So the number follows what requests find: each one that takes longer than a moment sees whether a timer of
//! its own is told on time. If it is, the processor is free, and one more is let in; if it's late, one less.
//!
//! It knows neither HTTP nor components.

use std::{
    pin::{Pin, pin},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    thread,
    time::Duration,
};

use tokio::{
    runtime::Handle,
    sync::Semaphore,
    time::{Instant, sleep_until},
};

/// For each core, at the least. With 4 to 16 throughput is the same.
const LEAST_PER_CORE: usize = 8;

/// At the most: as many as there may be instances.
const MOST: usize = crate::engine::MAX_INSTANCES as usize;

/// Requests that are done sooner see nothing.
const MOMENT: Duration = Duration::from_millis(5);

/// A timer that's told so much later has waited for the processor. Its own unit is a millisecond.
const LATE: Duration = Duration::from_millis(2);

/// Places come one by one, so that a number that's high enough shows before it's far too high.
const GROWTH: Duration = Duration::from_millis(1);

/// The places in instances.
#[derive(Clone, Debug)]
pub struct Places(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    least: usize,
    free: Semaphore,
    count: Mutex<Count>,
}

#[derive(Debug)]
struct Count {
    /// How many places there are.
    places: usize,
    /// How many more are taken for now, to go when they're given back.
    going: usize,
    grown_at: Instant,
}

impl Places {
    /// As many as the machine's cores keep busy.
    pub fn new() -> Self {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        Self::at_least(cores.saturating_mul(LEAST_PER_CORE).min(MOST))
    }

    fn at_least(least: usize) -> Self {
        Self(Arc::new(Shared {
            least,
            free: Semaphore::new(least),
            count: Mutex::new(Count {
                places: least,
                going: 0,
                grown_at: Instant::now(),
            }),
        }))
    }

    /// Waits for a place, then does `work` in it, to its end: instances go on with what a client no longer waits for, and
    /// one that's let in in its stead would be one too many.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> T {
        let place = Place::take(self.0.clone()).await;
        let working = async move {
            let mut work = pin!(work);
            loop {
                let due = Instant::now() + MOMENT;
                tokio::select! {
                    biased;
                    output = &mut work => return output,
                    () = sleep_until(due) => place.0.adapt(due.elapsed() < LATE),
                }
            }
        };
        ToTheEnd(Some(Box::pin(working))).await
    }
}

/// Work that's dropped before its end goes on by itself. A task for each would cost a few percent of all requests.
struct ToTheEnd<T: Send + 'static>(Option<Pin<Box<dyn Future<Output = T> + Send>>>);

impl<T: Send + 'static> Future for ToTheEnd<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        let polled = match &mut self.0 {
            Some(work) => work.as_mut().poll(context),
            None => Poll::Pending,
        };
        if polled.is_ready() {
            self.0 = None;
        }
        polled
    }
}

impl<T: Send + 'static> Drop for ToTheEnd<T> {
    fn drop(&mut self) {
        if let (Some(work), Ok(runtime)) = (self.0.take(), Handle::try_current()) {
            runtime.spawn(work);
        }
    }
}

impl Shared {
    fn adapt(&self, processor_is_free: bool) {
        let mut count = self.count();
        if !processor_is_free && count.places > self.least {
            count.places -= 1;
            if self.free.forget_permits(1) == 0 {
                count.going += 1;
            }
        } else if processor_is_free && count.places < MOST && count.grown_at.elapsed() > GROWTH {
            count.grown_at = Instant::now();
            count.places += 1;
            if count.going > 0 {
                count.going -= 1;
            } else {
                self.free.add_permits(1);
            }
        }
    }

    fn count(&self) -> MutexGuard<'_, Count> {
        // Whatever another holder did, the numbers are whole.
        self.count.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place that's taken; dropped, it's given back.
struct Place(Arc<Shared>);

impl Place {
    async fn take(shared: Arc<Shared>) -> Self {
        if let Ok(permit) = shared.free.acquire().await {
            permit.forget();
        }
        Self(shared)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut count = self.0.count();
        if count.going > 0 {
            count.going -= 1;
        } else {
            self.0.free.add_permits(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Shared {
        /// As if a while had passed.
        fn adapt_later(&self, processor_is_free: bool) {
            self.count().grown_at -= 2 * GROWTH;
            self.adapt(processor_is_free);
        }
    }

    #[test]
    fn while_the_processor_is_free_places_come_one_by_one() {
        let Places(shared) = Places::at_least(2);
        shared.adapt_later(true);
        shared.adapt(true);
        assert_eq!(shared.free.available_permits(), 3);
        shared.adapt_later(true);
        assert_eq!(shared.free.available_permits(), 4);
    }

    #[test]
    fn where_the_processor_is_short_they_go_but_for_the_least() {
        let Places(shared) = Places::at_least(2);
        shared.adapt_later(true);
        for _ in 0..3 {
            shared.adapt(false);
        }
        assert_eq!(shared.free.available_permits(), 2);
    }

    #[tokio::test]
    async fn a_place_that_is_taken_goes_when_it_is_given_back() {
        let Places(shared) = Places::at_least(1);
        shared.adapt_later(true);
        let (one, two) = (
            Place::take(shared.clone()).await,
            Place::take(shared.clone()).await,
        );
        shared.adapt(false);
        drop(one);
        assert_eq!(shared.free.available_permits(), 0);
        drop(two);
        assert_eq!(shared.free.available_permits(), 1);
        assert_eq!(shared.count().going, 0);
    }

    #[tokio::test]
    async fn requests_that_wait_let_others_in() {
        let places = Places::at_least(1);
        let waits = places.run(std::future::pending::<()>());
        let other = tokio::time::timeout(Duration::from_secs(5), places.run(async { "answer" }));
        tokio::select! {
            biased;
            () = waits => {}
            answer = other => assert_eq!(answer.ok(), Some("answer")),
        }
    }

    #[tokio::test]
    async fn who_goes_away_leaves_his_place_to_what_he_began() {
        let places = Places::at_least(1);
        let (go_on, told) = tokio::sync::oneshot::channel::<()>();
        let begun = places.run(async { drop(told.await) });
        assert!(tokio::time::timeout(MOMENT / 5, begun).await.is_err());
        assert_eq!(places.0.free.available_permits(), 0);
        drop(go_on);
        let next = tokio::time::timeout(Duration::from_secs(5), places.run(async {}));
        assert!(next.await.is_ok());
    }
}
