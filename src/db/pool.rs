//! Keeps connections of the host's pool for this instance's next statements, because Spin resets a connection at each checkout,
//! which costs a round trip.
//!
//! Many instances share few connections, so an instance may keep an idle connection only briefly. While the host has no free connections, a returned
//! connection goes to the host immediately. Otherwise, the connection stays idle in this pool for 20 ms at most. The pool doesn't pass a returned
//! connection to a waiting request of the same instance, because wit-bindgen traps if a task of one request wakes a task of another. A waiting
//! request gets its connection from the host.
//!
//! The module contains no SQL. Broken connections are dropped.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::profile::after_response;

/// How long a connection may idle here. The pool returns the connection to the host after one to two times this duration.
const MAX_IDLE: Duration = Duration::from_millis(10);

/// The age at which a connection is returned to the host after its current use. A connection in constant use is returned too, because requests
/// of other instances may wait for one.
const MAX_AGE: Duration = Duration::from_millis(250);

/// If opening a connection takes this much longer than three times the fastest time so far, the host probably has no free connections.
const SCARCE_AFTER: Duration = Duration::from_millis(5);

/// How long the pool keeps no connections after an open that failed, or was so slow that the host must have no free connections.
const SCARCE_FOR: Duration = Duration::from_secs(1);

/// The pool of one instance. Its connections have the type `C`.
#[derive(Debug)]
pub struct Pool<C>(Mutex<State<C>>);

#[derive(Debug)]
struct State<C> {
    /// The idle connections, with the times when they were returned. The newest is used first, so that the others expire.
    idle: Vec<(Checkout<C>, Instant)>,
    /// The number of requests that wait for the host to open a connection.
    opening: usize,
    /// The time at which the first of the waiting requests began to wait, or at which one of them last got its connection.
    opening_since: Instant,
    /// The duration of the fastest open.
    fastest: Option<Duration>,
    scarce_until: Option<Instant>,
    /// Whether a task runs that returns idle connections to the host.
    returning: bool,
}

/// A connection for the exclusive use of one request. Dropping the checkout returns the connection to the host.
#[derive(Debug)]
pub struct Checkout<C> {
    connection: C,
    opened_at: Instant,
}

impl<C> Checkout<C> {
    /// Returns the connection.
    pub fn connection(&self) -> &C {
        &self.connection
    }

    fn is_old(&self, now: Instant) -> bool {
        now.duration_since(self.opened_at) > MAX_AGE
    }
}

impl<C> State<C> {
    fn is_scarce(&self, now: Instant) -> bool {
        self.scarce_until.is_some_and(|until| now < until)
            || self.opening > 0 && self.is_long(now.duration_since(self.opening_since))
    }

    /// Whether an open that takes this long shows that the host has no free connections.
    fn is_long(&self, elapsed: Duration) -> bool {
        let usual = self.fastest.unwrap_or_default().saturating_mul(3);
        elapsed > SCARCE_AFTER.saturating_add(usual)
    }

    /// Removes and returns the expired connections. The caller releases the lock before it drops them.
    fn take_old(&mut self, now: Instant) -> Vec<(Checkout<C>, Instant)> {
        let is_over = |(checkout, since): &mut (Checkout<C>, Instant)| {
            now.duration_since(*since) >= MAX_IDLE || checkout.is_old(now)
        };
        self.idle.extract_if(.., is_over).collect()
    }
}

impl<C: Send + 'static> Pool<C> {
    /// Creates an empty pool.
    pub fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::new(State {
            idle: Vec::new(),
            opening: 0,
            opening_since: Instant::now(),
            fastest: None,
            scarce_until: None,
            returning: false,
        })))
    }

    /// Returns an idle connection, or else opens one with `open`. The wait has no time limit, so the caller must set one.
    pub async fn checkout<E>(
        &self,
        open: impl Future<Output = Result<C, E>>,
    ) -> Result<Checkout<C>, E> {
        let idle = self.state().idle.pop();
        if let Some((checkout, _)) = idle {
            return Ok(checkout);
        }
        let opening = Opening::count(self);
        let connection = open.await.inspect_err(|_| {
            // The host may have refused because other requests wait for connections, so this pool must keep none.
            self.state().scarce_until = Some(Instant::now() + SCARCE_FOR);
        })?;
        opening.succeeded();
        Ok(Checkout {
            connection,
            opened_at: Instant::now(),
        })
    }

    /// Keeps a working connection for the next request, or returns it to the host if it is old or the host may have no free connections.
    pub fn give_back(self: &Arc<Self>, checkout: Checkout<C>) {
        let now = Instant::now();
        let mut state = self.state();
        if state.is_scarce(now) || checkout.is_old(now) {
            drop(state);
            return;
        }
        let over = state.take_old(now);
        state.idle.push((checkout, now));
        let returning = std::mem::replace(&mut state.returning, true);
        drop(state);
        drop(over);
        if !returning {
            after_response(self.clone().return_idle());
        }
    }

    /// Returns the idle connections to the host after a connection broke, because the idle ones may be broken too.
    pub fn forget_idle(&self) {
        let idle = std::mem::take(&mut self.state().idle);
        drop(idle);
    }

    /// Returns idle connections to the host when they expire, until none is left.
    async fn return_idle(self: Arc<Self>) {
        loop {
            spin_sdk::time::sleep(MAX_IDLE).await;
            if self.return_old(Instant::now()) {
                return;
            }
        }
    }

    /// Returns expired connections to the host. Returns true if no idle connection is left.
    fn return_old(&self, now: Instant) -> bool {
        let mut state = self.state();
        let over = state.take_old(now);
        state.returning = !state.idle.is_empty();
        let none_left = !state.returning;
        drop(state);
        drop(over);
        none_left
    }

    fn state(&self) -> MutexGuard<'_, State<C>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts a request that waits for the host, until this value is dropped, for example because the request's time limit has passed.
struct Opening<'a, C: Send + 'static> {
    pool: &'a Pool<C>,
    began_at: Instant,
}

impl<'a, C: Send + 'static> Opening<'a, C> {
    fn count(pool: &'a Pool<C>) -> Self {
        let began_at = Instant::now();
        let mut state = pool.state();
        if state.opening == 0 {
            state.opening_since = began_at;
        }
        state.opening = state.opening.saturating_add(1);
        drop(state);
        Self { pool, began_at }
    }

    fn succeeded(&self) {
        let elapsed = self.began_at.elapsed();
        let mut state = self.pool.state();
        state.opening_since = Instant::now();
        state.fastest = Some(
            state
                .fastest
                .map_or(elapsed, |fastest| fastest.min(elapsed)),
        );
    }
}

impl<C: Send + 'static> Drop for Opening<'_, C> {
    fn drop(&mut self) {
        let now = Instant::now();
        let mut state = self.pool.state();
        state.opening = state.opening.saturating_sub(1);
        if state.is_long(now.duration_since(self.began_at)) {
            state.scarce_until = Some(now + SCARCE_FOR);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::future::{pending, ready};
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    type Opened = Result<u32, Infallible>;

    /// Checks out a connection that is available immediately.
    fn at_once(pool: &Pool<u32>, opened: u32) -> Checkout<u32> {
        let checkout = pin!(pool.checkout(ready(Opened::Ok(opened))));
        match checkout.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(checkout)) => checkout,
            _ => panic!("it waits"),
        }
    }

    #[test]
    fn the_last_returned_connection_is_reused_first() {
        let pool = Pool::new();
        let (one, two) = (at_once(&pool, 1), at_once(&pool, 2));
        pool.give_back(one);
        pool.give_back(two);
        assert_eq!(at_once(&pool, 3).connection(), &2);
        assert_eq!(at_once(&pool, 3).connection(), &1);
        assert_eq!(at_once(&pool, 3).connection(), &3);
    }

    #[test]
    fn connections_are_not_kept_idle_while_a_request_waits_long() {
        let pool = Pool::new();
        let (one, two) = (at_once(&pool, 1), at_once(&pool, 2));
        {
            let mut waiting = pin!(pool.checkout(pending::<Opened>()));
            let mut context = Context::from_waker(Waker::noop());
            assert!(waiting.as_mut().poll(&mut context).is_pending());
            // The request has waited only for a moment, so no shortage is detected.
            pool.give_back(one);
            assert_eq!(pool.state().idle.len(), 1);
            pool.state().opening_since -= SCARCE_AFTER * 2;
            pool.give_back(two);
            assert_eq!(pool.state().idle.len(), 1);
        }
        // The wait was cancelled, for example by a time limit.
        assert!(!pool.state().is_scarce(Instant::now()));
    }

    #[test]
    fn a_cancelled_slow_open_marks_connections_as_scarce() {
        let pool = Pool::new();
        {
            let mut waiting = pin!(pool.checkout(pending::<Opened>()));
            let mut context = Context::from_waker(Waker::noop());
            assert!(waiting.as_mut().poll(&mut context).is_pending());
            std::thread::sleep(SCARCE_AFTER * 2);
        }
        assert!(pool.state().is_scarce(Instant::now()));
    }

    #[test]
    fn connections_are_not_kept_idle_after_a_recent_shortage() {
        let pool = Pool::new();
        let one = at_once(&pool, 1);
        pool.state().scarce_until = Some(Instant::now() + SCARCE_FOR);
        pool.give_back(one);
        assert!(pool.state().idle.is_empty());
    }

    #[test]
    fn an_unusually_slow_open_marks_connections_as_scarce() {
        let opened_after = |pool: &Pool<u32>, elapsed| {
            let open = async move {
                std::thread::sleep(elapsed);
                Opened::Ok(1)
            };
            let checkout = pin!(pool.checkout(open));
            let mut context = Context::from_waker(Waker::noop());
            assert!(checkout.poll(&mut context).is_ready());
        };
        // Every open takes this long if the database is far away.
        let pool = Pool::new();
        opened_after(&pool, SCARCE_AFTER * 2);
        assert!(!pool.state().is_scarce(Instant::now()));

        let pool = Pool::new();
        opened_after(&pool, Duration::ZERO);
        opened_after(&pool, SCARCE_AFTER * 4);
        assert!(pool.state().is_scarce(Instant::now()));
    }

    #[test]
    fn old_and_long_idle_connections_are_not_kept() {
        let pool = Pool::new();
        let mut old = at_once(&pool, 1);
        old.opened_at -= MAX_AGE * 2;
        pool.give_back(old);
        assert!(pool.state().idle.is_empty());

        pool.give_back(at_once(&pool, 2));
        assert!(!pool.return_old(Instant::now()));
        assert!(pool.return_old(Instant::now() + MAX_IDLE));
        assert!(!pool.state().returning);
    }

    #[test]
    fn a_checkout_opens_a_new_connection_after_idle_ones_are_dropped() {
        let pool = Pool::new();
        pool.give_back(at_once(&pool, 1));
        pool.forget_idle();
        assert_eq!(at_once(&pool, 2).connection(), &2);
    }
}
