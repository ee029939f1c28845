//! What one request did: its statements with their durations, and how long it waited for connections.
//!
//! Pure bookkeeping, one value for each request: an instance serves several at once, so nothing of this may be static.
//! Durations are whole microseconds (`_us`).

use std::collections::BTreeMap;
use std::fmt;
use std::pin::Pin;
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

/// A statement's answer as it was sought in the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheLookup {
    /// The statement's name in the registry.
    pub name: &'static str,
    /// From the call until the cache had answered.
    pub elapsed_us: u64,
    /// Whether it was there; else the statement was sent.
    pub is_hit: bool,
    /// Whether the cache didn't answer.
    pub failed: bool,
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
    /// A hash of its parameters: the same for the same ones.
    pub parameters: u64,
}

/// A statement that took so long that its plan is wanted.
pub struct SlowQuery {
    /// Its name in the registry.
    pub name: &'static str,
    /// From the call until the last row and the outcome were in.
    pub elapsed_us: u64,
    /// Asks for the plan, as JSON; to be awaited after the response is sent.
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

/// A statement that one request ran more than once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repetition {
    /// Its name in the registry.
    pub name: &'static str,
    /// With how many different parameters it ran.
    pub different_count: usize,
    /// How often it ran with the parameters that it ran most often with.
    pub same_count: usize,
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

    /// Says which route serves the request, as `GET /api/agents/{id}`, never with values from the path; and how many
    /// statements it may take.
    pub fn set_route(&self, route: String, query_budget: usize) {
        let mut account = self.account();
        account.route = Some(route);
        account.query_budget = Some(query_budget);
    }

    /// Counts the request for its route. A request that ends before this was refused, and took no time of the route's work.
    pub fn admit(&self) {
        self.account().is_admitted = true;
    }

    /// The name under which the fleet counts the request, and whether that is a route's. A stranger can send any number of
    /// requests that no route takes, or that are refused: they must not change the figures of routes.
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

    /// The route, once known.
    #[must_use]
    pub fn route(&self) -> String {
        self.account()
            .route
            .clone()
            .unwrap_or_else(|| NO_ROUTE.to_owned())
    }

    /// How many statements the route may take, once known.
    #[must_use]
    pub fn query_budget(&self) -> Option<usize> {
        self.account().query_budget
    }

    /// Shows every statement in `Server-Timing`. The caller has made sure that the client may see it.
    pub fn show_statements(&self) {
        self.account().detailed = true;
    }

    /// Whether every statement is to be shown.
    #[must_use]
    pub fn is_detailed(&self) -> bool {
        self.account().detailed
    }

    /// Adds a statement to the account.
    pub fn record_statement(&self, run: StatementRun) {
        self.account().statements.push(run);
    }

    /// Asks for a statement's plan, once the response is sent.
    pub fn record_slow_query(&self, slow_query: SlowQuery) {
        self.account().slow_queries.push(slow_query);
    }

    /// Adds a wait for a connection, successful or not.
    pub fn record_connection_wait(&self, wait_us: u64) {
        let mut account = self.account();
        account.connection_wait_us = account.connection_wait_us.saturating_add(wait_us);
    }

    /// Adds a lookup in the cache.
    pub fn record_cache_lookup(&self, lookup: CacheLookup) {
        self.account().cache_lookups.push(lookup);
    }

    /// The lookups in the cache so far.
    #[must_use]
    pub fn cache_lookups(&self) -> Vec<CacheLookup> {
        self.account().cache_lookups.clone()
    }

    /// Says what has answered a read, a server or the cache, and why that one. The last one stands.
    pub fn record_read_from(&self, read_from: &'static str) {
        self.account().read_from = Some(read_from);
    }

    /// What has answered, where there's a choice.
    #[must_use]
    pub fn read_from(&self) -> Option<&'static str> {
        self.account().read_from
    }

    /// The statements so far, in the order they ended.
    #[must_use]
    pub fn statements(&self) -> Vec<StatementRun> {
        self.account().statements.clone()
    }

    /// The slow statements so far, handed over.
    #[must_use]
    pub fn take_slow_queries(&self) -> Vec<SlowQuery> {
        std::mem::take(&mut self.account().slow_queries)
    }

    /// The statements that ran more than once, by name. One that failed and was sent again is none.
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

    fn run(name: &'static str, elapsed_us: u64, parameters: u64) -> StatementRun {
        StatementRun {
            name,
            elapsed_us,
            failed: false,
            parameters,
        }
    }

    #[test]
    fn totals_add_up_what_was_recorded_failures_included() {
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
    fn a_request_without_a_route_says_so() {
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
    fn repetitions_tell_the_same_parameters_from_different_ones() {
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
