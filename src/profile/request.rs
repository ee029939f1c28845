//! The profile of one request: its statements with their durations, and the time that the request waited for connections.
//!
//! Each request has a profile of its own. An instance serves several requests at once, so no part of a profile may be static. Durations are
//! whole microseconds (`_us`).

use std::collections::BTreeMap;
use std::fmt;
use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// The measurements of one request, created when the request starts, and shared by all code that serves the request.
#[derive(Debug)]
pub struct RequestProfile {
    started: Instant,
    request_id: String,
    account: Mutex<Account>,
}

#[derive(Debug, Default)]
struct Account {
    route: Option<String>,
    is_admitted: bool,
    query_budget: Option<usize>,
    detailed: bool,
    statements: Vec<StatementRun>,
    slow_queries: Vec<SlowQuery>,
    connection_wait_us: u64,
    read_from: Option<&'static str>,
    cache_lookups: Vec<CacheLookup>,
}

const NO_ROUTE: &str = "(no route)";

/// A lookup of a statement's answer in the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheLookup {
    /// The statement's name in the registry.
    pub name: &'static str,
    /// The time from the call until the cache's answer.
    pub elapsed_us: u64,
    /// Whether the cache had the answer. If not, the statement was sent.
    pub is_hit: bool,
    /// Whether the lookup failed.
    pub failed: bool,
}

/// A statement that was sent, whether it succeeded or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatementRun {
    /// The statement's name in the registry.
    pub name: &'static str,
    /// The time from the call until the last row and the outcome were received.
    pub elapsed_us: u64,
    /// Whether the statement ended in an error.
    pub failed: bool,
    /// A hash of the statement's parameters. Equal parameters have equal hashes.
    pub parameters: u64,
}

/// A statement so slow that its plan is recorded.
pub struct SlowQuery {
    /// The statement's name in the registry.
    pub name: &'static str,
    /// The time from the call until the last row and the outcome were received.
    pub elapsed_us: u64,
    /// Fetches the plan as JSON. The caller awaits it after the response is sent.
    pub plan: Pin<Box<dyn Future<Output = Option<String>> + Send>>,
}

impl fmt::Debug for SlowQuery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SlowQuery")
            .field("name", &self.name)
            .field("elapsed_us", &self.elapsed_us)
            .finish_non_exhaustive()
    }
}

/// The totals that are sent with the response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Totals {
    /// The time since the request started.
    pub elapsed_us: u64,
    /// The number of statements sent, including failed ones.
    pub query_count: usize,
    /// The sum of the statements' durations.
    pub query_us: u64,
    /// The time spent waiting for a connection, which is not part of `query_us`.
    pub connection_wait_us: u64,
}

/// A statement that one request ran more than once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repetition {
    /// The statement's name in the registry.
    pub name: &'static str,
    /// The number of different parameter sets with which the statement ran.
    pub different_count: usize,
    /// The number of runs with the most frequent parameter set.
    pub same_count: usize,
}

impl RequestProfile {
    /// Starts the clock. `request_id` appears in log lines and in `X-Request-Id`.
    #[must_use]
    pub fn start(request_id: String) -> Self {
        Self {
            started: Instant::now(),
            request_id,
            account: Mutex::default(),
        }
    }

    /// Returns the request's id.
    #[must_use]
    pub fn request_id(&self) -> &str {
        &self.request_id
    }

    /// Sets the route that serves the request, and the number of statements that it may send. The route is a pattern such as
    /// `GET /api/agents/{id}`, without values from the path.
    pub fn set_route(&self, route: String, query_budget: usize) {
        let mut account = self.account();
        account.route = Some(route);
        account.query_budget = Some(query_budget);
    }

    /// Counts the request for its route. A request that ends before this call counts as refused, so its duration isn't part of the route's
    /// figures.
    pub fn admit(&self) {
        self.account().is_admitted = true;
    }

    /// Returns the name under which the fleet counts the request, and whether the name is that of a route. Requests that match no route or are
    /// refused have other names, because any client can send them, and they must not change the figures of routes.
    #[must_use]
    pub fn counted_as(&self, status: u16) -> (String, bool) {
        match &*self.account() {
            Account { route: None, .. } => (NO_ROUTE.to_owned(), false),
            Account {
                route: Some(route),
                is_admitted: true,
                ..
            } => (route.clone(), true),
            Account { .. } => (format!("(refused {status})"), false),
        }
    }

    /// Returns the route, or `(no route)` if the route isn't set yet.
    #[must_use]
    pub fn route(&self) -> String {
        self.account()
            .route
            .clone()
            .unwrap_or_else(|| NO_ROUTE.to_owned())
    }

    /// Returns how many statements the route may send; `None` if the route isn't set yet.
    #[must_use]
    pub fn query_budget(&self) -> Option<usize> {
        self.account().query_budget
    }

    /// Shows every statement in `Server-Timing`. The caller must have checked that the client may see them.
    pub fn show_statements(&self) {
        self.account().detailed = true;
    }

    /// Whether `Server-Timing` shows every statement.
    #[must_use]
    pub fn is_detailed(&self) -> bool {
        self.account().detailed
    }

    /// Records a statement.
    pub fn record_statement(&self, run: StatementRun) {
        self.account().statements.push(run);
    }

    /// Records a slow statement, whose plan is fetched after the response is sent.
    pub fn record_slow_query(&self, slow_query: SlowQuery) {
        self.account().slow_queries.push(slow_query);
    }

    /// Records a wait for a connection, successful or not.
    pub fn record_connection_wait(&self, wait_us: u64) {
        let mut account = self.account();
        account.connection_wait_us = account.connection_wait_us.saturating_add(wait_us);
    }

    /// Records a lookup in the cache.
    pub fn record_cache_lookup(&self, lookup: CacheLookup) {
        self.account().cache_lookups.push(lookup);
    }

    /// Returns the lookups in the cache so far.
    #[must_use]
    pub fn cache_lookups(&self) -> Vec<CacheLookup> {
        self.account().cache_lookups.clone()
    }

    /// Records which server, or the cache, answered a read, and why. The last call wins.
    pub fn record_read_from(&self, read_from: &'static str) {
        self.account().read_from = Some(read_from);
    }

    /// Returns the source that [`record_read_from`](Self::record_read_from) recorded last; `None` if there is neither a replica nor a cache.
    #[must_use]
    pub fn read_from(&self) -> Option<&'static str> {
        self.account().read_from
    }

    /// Returns the statements so far, in the order they ended.
    #[must_use]
    pub fn statements(&self) -> Vec<StatementRun> {
        self.account().statements.clone()
    }

    /// Removes and returns the slow statements so far.
    #[must_use]
    pub fn take_slow_queries(&self) -> Vec<SlowQuery> {
        std::mem::take(&mut self.account().slow_queries)
    }

    /// Returns the statements that ran more than once, by name. Failed runs don't count, so a retry isn't a repetition.
    #[must_use]
    pub fn repetitions(&self) -> Vec<Repetition> {
        let mut runs: BTreeMap<&'static str, BTreeMap<u64, usize>> = BTreeMap::new();
        for run in self.account().statements.iter().filter(|run| !run.failed) {
            let count = runs
                .entry(run.name)
                .or_default()
                .entry(run.parameters)
                .or_default();
            *count = count.saturating_add(1);
        }
        runs.into_iter()
            .map(|(name, parameters)| Repetition {
                name,
                different_count: parameters.len(),
                same_count: parameters.into_values().max().unwrap_or(0),
            })
            .filter(|repetition| repetition.different_count > 1 || repetition.same_count > 1)
            .collect()
    }

    /// Returns the current totals.
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
        // A panic elsewhere leaves consistent numbers, because each change is a single assignment or push.
        self.account.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the whole microseconds since `since`.
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

    fn run(name: &'static str, elapsed_us: u64, parameters: u64) -> StatementRun {
        StatementRun {
            name,
            elapsed_us,
            failed: false,
            parameters,
        }
    }

    #[test]
    fn totals_include_failed_statements() {
        let profile = RequestProfile::start("r".to_owned());
        profile.record_statement(run("agent_get", 1500, 0));
        profile.record_statement(StatementRun {
            failed: true,
            ..run("agent_get", 2500, 0)
        });
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
            profile.record_statement(run("agent_get", u64::MAX, 0));
        }
        assert_eq!(profile.totals().query_us, u64::MAX);
        assert_eq!(profile.totals().connection_wait_us, u64::MAX);
    }

    #[test]
    fn a_request_without_a_route_has_a_placeholder_route() {
        let profile = RequestProfile::start("r".to_owned());
        assert_eq!(profile.route(), "(no route)");
        assert_eq!(profile.query_budget(), None);
        profile.set_route("GET /api/agents".to_owned(), 1);
        assert_eq!(profile.route(), "GET /api/agents");
        assert_eq!(profile.query_budget(), Some(1));
    }

    #[test]
    fn a_refused_request_is_not_counted_for_its_route() {
        let profile = RequestProfile::start("r".to_owned());
        assert_eq!(profile.counted_as(404), ("(no route)".to_owned(), false));
        profile.set_route("GET /api/agents".to_owned(), 1);
        assert_eq!(profile.counted_as(401), ("(refused 401)".to_owned(), false));
        assert_eq!(profile.route(), "GET /api/agents");
        profile.admit();
        assert_eq!(
            profile.counted_as(200),
            ("GET /api/agents".to_owned(), true)
        );
    }

    #[test]
    fn repetitions_count_equal_and_different_parameters_separately() {
        let profile = RequestProfile::start("r".to_owned());
        for (name, parameters) in [("a", 1), ("b", 1), ("b", 2), ("b", 2), ("c", 1), ("c", 1)] {
            profile.record_statement(run(name, 1, parameters));
        }
        profile.record_statement(StatementRun {
            failed: true,
            ..run("a", 1, 1)
        });
        let repetition = |name, different_count, same_count| Repetition {
            name,
            different_count,
            same_count,
        };
        assert_eq!(
            profile.repetitions(),
            [repetition("b", 2, 2), repetition("c", 1, 2)]
        );
    }
}
