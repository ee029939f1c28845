//! What one request did: its statements with their durations, and how long it waited for connections.
//!
//! Pure bookkeeping, one value for each request: an instance serves several at once, so nothing of this may be static.
//! Durations are whole microseconds (`_us`).

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// The running account of one request. Made when its first line runs, shared by all that works for it.
#[derive(Debug)]
pub struct RequestProfile {
    started: Instant,
    request_id: String,
    account: Mutex<Account>,
}

#[derive(Debug, Default)]
struct Account {
    route: Option<String>,
    statements: Vec<StatementRun>,
    connection_wait_us: u64,
}

/// One statement as it was sent: counted whether it succeeded or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatementRun {
    /// Its name in the registry.
    pub name: &'static str,
    /// From the call until the last row and the outcome were in.
    pub elapsed_us: u64,
    /// Whether it ended in an error.
    pub failed: bool,
}

/// The sums that go out with the response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Totals {
    /// Since the request's first line.
    pub elapsed_us: u64,
    /// Statements sent, failed ones too.
    pub query_count: usize,
    /// Their durations, added up.
    pub query_us: u64,
    /// Time spent waiting for a connection; not part of `query_us`.
    pub connection_wait_us: u64,
}

impl RequestProfile {
    /// Starts the clock. `request_id` is what log lines and `X-Request-Id` will say.
    #[must_use]
    pub fn start(request_id: String) -> Self {
        Self {
            started: Instant::now(),
            request_id,
            account: Mutex::default(),
        }
    }

    /// The name of this request in the log.
    #[must_use]
    pub fn request_id(&self) -> &str {
        &self.request_id
    }

    /// Says which route serves the request, as `GET /api/agents/{id}`: never with values from the path.
    pub fn set_route(&self, route: String) {
        self.account().route = Some(route);
    }

    /// The route, once known.
    #[must_use]
    pub fn route(&self) -> String {
        self.account()
            .route
            .clone()
            .unwrap_or_else(|| "(no route)".to_owned())
    }

    /// Adds a statement to the account.
    pub fn record_statement(&self, run: StatementRun) {
        self.account().statements.push(run);
    }

    /// Adds a wait for a connection, successful or not.
    pub fn record_connection_wait(&self, wait_us: u64) {
        let mut account = self.account();
        account.connection_wait_us = account.connection_wait_us.saturating_add(wait_us);
    }

    /// The sums as of now.
    #[must_use]
    pub fn totals(&self) -> Totals {
        let elapsed_us = elapsed_us(self.started);
        let account = self.account();
        Totals {
            elapsed_us,
            query_count: account.statements.len(),
            query_us: account
                .statements
                .iter()
                .fold(0, |sum, run| sum.saturating_add(run.elapsed_us)),
            connection_wait_us: account.connection_wait_us,
        }
    }

    fn account(&self) -> MutexGuard<'_, Account> {
        // Whatever another holder did, the numbers are whole: each change is a single assignment or push.
        self.account.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whole microseconds since `since`.
///
/// ```
/// let clock = std::time::Instant::now();
/// assert!(reznet_edge::profile::elapsed_us(clock) < 1_000_000);
/// ```
#[must_use]
pub fn elapsed_us(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_add_up_what_was_recorded_failures_included() {
        let profile = RequestProfile::start("r".to_owned());
        for (elapsed_us, failed) in [(1500, false), (2500, true)] {
            profile.record_statement(StatementRun {
                name: "agent_get",
                elapsed_us,
                failed,
            });
        }
        profile.record_connection_wait(400);
        profile.record_connection_wait(10);
        let totals = profile.totals();
        assert_eq!(totals.query_count, 2);
        assert_eq!(totals.query_us, 4000);
        assert_eq!(totals.connection_wait_us, 410);
    }

    #[test]
    fn sums_saturate_rather_than_panic() {
        let profile = RequestProfile::start("r".to_owned());
        for _ in 0..2 {
            profile.record_connection_wait(u64::MAX);
            profile.record_statement(StatementRun {
                name: "agent_get",
                elapsed_us: u64::MAX,
                failed: false,
            });
        }
        assert_eq!(profile.totals().query_us, u64::MAX);
        assert_eq!(profile.totals().connection_wait_us, u64::MAX);
    }

    #[test]
    fn a_request_without_a_route_says_so() {
        let profile = RequestProfile::start("r".to_owned());
        assert_eq!(profile.route(), "(no route)");
        profile.set_route("GET /api/agents".to_owned());
        assert_eq!(profile.route(), "GET /api/agents");
    }
}
