//! A circuit breaker: after a failure, a service is not used for a while, and only the first of successive failures is logged. The cache and the
//! profiler's tables use both the pause and the limit on logs. The replica uses only the limit on logs. It needs no pause, because `db/replica.rs`
//! asks for its status only once a second.

use std::time::{Duration, Instant};

/// The state of a service as this instance knows it.
#[derive(Debug, Default)]
pub struct Breaker {
    open_until: Option<Instant>,
    is_failing: bool,
}

impl Breaker {
    /// Whether the service must not be used at this time.
    #[must_use]
    pub fn is_open(&self, now: Instant) -> bool {
        self.open_until.is_some_and(|until| now < until)
    }

    /// Records a failure. The service is not used until the pause is over. Returns true for the first of successive failures, which the
    /// caller logs.
    #[must_use]
    pub fn failed(&mut self, now: Instant, pause: Duration) -> bool {
        self.open_until = Some(now + pause);
        !std::mem::replace(&mut self.is_failing, true)
    }

    /// Records a success. A pause that has begun goes on, because another call may have failed since the successful one began.
    pub fn succeeded(&mut self) {
        self.is_failing = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_breaker_is_open_during_the_pause_and_reports_the_first_failure() {
        let (mut breaker, now, pause) =
            (Breaker::default(), Instant::now(), Duration::from_secs(1));
        assert!(!breaker.is_open(now));
        assert!(breaker.failed(now, pause));
        assert!(breaker.is_open(now));
        assert!(!breaker.is_open(now + pause));
        assert!(!breaker.failed(now + pause, pause));
        assert!(breaker.is_open(now + pause));
        breaker.succeeded();
        assert!(breaker.is_open(now + pause));
        assert!(breaker.failed(now + pause, Duration::ZERO));
        assert!(!breaker.is_open(now + pause));
    }
}
