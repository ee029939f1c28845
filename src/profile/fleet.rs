//! Percentiles of the fleet, which is all instances together. Collects the durations of an instance's requests by minute, and stores them in
//! batches after responses are sent. No request waits for the storage, and no request fails because of it.
//!
//! The module contains no SQL. The caller passes the function that stores a batch.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use http::StatusCode;
use uuid::Uuid;

use super::log::{Level, line};
use super::{RequestProfile, Sketch, SlowQuery, Target, Totals};
use crate::breaker::Breaker;

/// How long, in minutes, a batch waits for a database that is down. Older samples are discarded and counted as lost.
const OLDEST_MINUTES: i64 = 3;

/// The maximum number of slow queries in a batch: the slowest and the newest run of each statement. Fetching their plans costs an EXPLAIN each.
const MOST_SLOW_QUERIES: usize = 30;

/// The number of successive failures after which an instance waits for [`QUIET`] before it tries again.
const MOST_FAILURES: u32 = 3;

/// The minimum wait before an instance stores a batch of requests that no route served. Any client can send any number of such requests, and each
/// batch is a write to the database.
const REFUSED_WAIT: Duration = Duration::from_secs(1);

const QUIET: Duration = Duration::from_secs(30);

/// How an instance collects samples.
#[derive(Clone, Copy, Debug)]
pub struct FleetSettings {
    /// How long samples are collected before they are flushed.
    pub flush_interval: Duration,
    /// The N of "profile 1 in N requests". Each profiled request counts N times.
    pub one_in: u32,
}

/// The key of a sketch in a batch. The minute is the first field, so that old sketches can be split off.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// Minutes since 1970.
    pub minute: i64,
    /// Cache lookup, route or statement.
    pub kind: Kind,
    /// The statement's name, or the route's method and pattern, or [`ALL`] for all of them together. Requests that no route has
    /// served have a name in parentheses, and aren't part of [`ALL`].
    pub name: Cow<'static, str>,
}

impl Key {
    /// Whether the key counts requests that were served by no route.
    fn is_refused(&self) -> bool {
        self.kind == Kind::Route && self.name.starts_with('(')
    }
}

/// The name for all samples of a kind together. They are counted separately, because percentiles can't be computed from other percentiles.
pub const ALL: &str = "";

/// The kind of a sample. Each kind is counted separately. The variants are in the order of their names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Cache lookups, from the call until the cache's answer.
    Cache,
    /// Requests, from the handler's first line to the response.
    Route,
    /// Statements, from the call until the last row and the outcome are received.
    Statement,
}

impl Kind {
    /// Returns the name in the database.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Cache => "cache",
            Self::Route => "route",
            Self::Statement => "statement",
        }
    }
}

/// The samples of one minute, kind and name.
#[derive(Clone, Debug, Default)]
pub struct Gathered {
    /// The durations.
    pub sketch: Sketch,
    /// For a route, the number of statements that its requests sent. For cache lookups, the number of misses.
    pub query_count: u64,
}

/// A slow query and its request.
#[derive(Debug)]
pub struct SlowQuerySeen {
    /// The query.
    pub slow_query: SlowQuery,
    /// The route of its request.
    pub route: String,
    /// The id of its request.
    pub request_id: String,
    /// Microseconds since 1970.
    pub ran_at_us: i64,
}

/// The samples that an instance has collected since its last flush.
#[derive(Debug, Default)]
pub struct Batch {
    /// The sketches by minute, kind and name.
    pub sketches: BTreeMap<Key, Gathered>,
    /// The slowest queries.
    pub slow_queries: Vec<SlowQuerySeen>,
    /// The number of collected samples, both those in `sketches` and those that were lost.
    pub gathered: u64,
    /// The number of samples that were collected and then discarded.
    pub lost: u64,
    /// The N of "profile 1 in N requests" with which the samples were collected.
    pub one_in: u32,
    /// The target with which the samples were compared.
    pub target: Target,
}

/// The outcome of storing a batch.
#[derive(Debug)]
pub enum Flushed {
    /// The batch was stored.
    Stored,
    /// No part of the batch was sent, so the caller may try again. The text is the reason.
    Unsent(Batch, String),
    /// The batch can't be stored, or the outcome is unknown. The batch is discarded, so that nothing is counted twice. The text is the reason.
    Failed(String),
}

/// The function that stores a batch.
pub type Flush = Box<dyn Fn(Batch) -> Pin<Box<dyn Future<Output = Flushed> + Send>> + Send + Sync>;

/// An instance's part of the fleet's profile.
pub struct Fleet {
    settings: FleetSettings,
    target: Target,
    flush: Flush,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    batch: Batch,
    /// Whether a task runs that flushes the batch.
    flushing: bool,
    breaker: Breaker,
}

impl fmt::Debug for Fleet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fleet")
            .field("settings", &self.settings)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

impl Fleet {
    /// Creates a collector that compares samples with `target` and passes batches to `flush`.
    #[must_use]
    pub fn new(settings: FleetSettings, target: Target, flush: Flush) -> Arc<Self> {
        Arc::new(Self {
            settings,
            target,
            flush,
            state: Mutex::default(),
        })
    }

    /// Records a request that has just been answered. The first recorded request starts a task that waits a little and then flushes all samples
    /// collected by then. The host keeps the instance until the task ends.
    pub fn gather(self: &Arc<Self>, profile: &RequestProfile, totals: &Totals, status: StatusCode) {
        let one_in = u64::from(self.settings.one_in);
        // The choice doesn't depend on the request's id, because a client may choose the id.
        if one_in > 1 && !Uuid::new_v4().as_u128().is_multiple_of(one_in.into()) {
            return;
        }
        let mut state = self.state();
        state.batch.one_in = self.settings.one_in;
        state.batch.target = self.target;
        state.batch.add(profile, totals, status, now_us());
        if !state.flushing && !state.breaker.is_open(Instant::now()) {
            state.flushing = true;
            drop(state);
            after_response(self.clone().flush_until_done());
        }
    }

    /// Flushes repeatedly, until no samples are left or too many attempts in a row have failed.
    async fn flush_until_done(self: Arc<Self>) {
        let mut failures = 0;
        loop {
            let mut patience = self.settings.flush_interval.saturating_mul(1 << failures);
            if self.state().batch.has_only_refused() {
                patience = patience.max(REFUSED_WAIT);
            }
            spin_sdk::time::sleep(patience).await;
            let Some(batch) = self.take() else { return };
            let gathered = batch.gathered;
            match (self.flush)(batch).await {
                Flushed::Stored => {
                    failures = 0;
                    self.state().breaker.succeeded();
                    if self.is_done() {
                        return;
                    }
                }
                Flushed::Unsent(batch, reason) => {
                    failures += 1;
                    self.state().batch.take_back(batch);
                    self.failed(failures, &reason);
                }
                Flushed::Failed(reason) => {
                    failures += 1;
                    self.state().batch.give_up(gathered);
                    self.failed(failures, &reason);
                }
            }
            if failures >= MOST_FAILURES {
                self.state().flushing = false;
                return;
            }
        }
    }

    /// Returns the batch to flush. `None` means that there are no samples, and ends the task.
    fn take(&self) -> Option<Batch> {
        let mut state = self.state();
        state
            .batch
            .forget_before(now_us() / MINUTE_US - OLDEST_MINUTES);
        if state.batch.sketches.is_empty() && state.batch.slow_queries.is_empty() {
            state.flushing = false;
            return None;
        }
        Some(std::mem::take(&mut state.batch))
    }

    /// Returns true if no samples were added during the flush. Then the task ends.
    fn is_done(&self) -> bool {
        let mut state = self.state();
        let done = state.batch.sketches.is_empty();
        if done {
            state.flushing = false;
        }
        done
    }

    /// Records a failure, and logs the first of successive failures. After too many failures, no flush begins for a while.
    fn failed(&self, failures: u32, reason: &str) {
        let pause = if failures >= MOST_FAILURES {
            QUIET
        } else {
            Duration::ZERO
        };
        let is_first = self.state().breaker.failed(Instant::now(), pause);
        if is_first {
            let profile = RequestProfile::start("profiler".to_owned());
            let message = format!("PROFILER: what was gathered can't be stored: {reason}");
            line(
                Level::Warning,
                &message,
                &profile,
                &[("event", "profiler".into())],
            );
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const MINUTE_US: i64 = 60_000_000;

/// Microseconds since 1970.
#[must_use]
pub fn now_us() -> i64 {
    let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since_1970.map_or(0, |time| {
        i64::try_from(time.as_micros()).unwrap_or(i64::MAX)
    })
}

/// Runs `task` concurrently with requests. The task continues after their responses are sent.
pub fn after_response(task: impl Future<Output = ()> + Send + 'static) {
    #[cfg(target_family = "wasm")]
    spin_sdk::wasip3::spawn(task);
    // Native builds have no host that would run the task. In native builds, only unit tests call this function.
    #[cfg(not(target_family = "wasm"))]
    drop(task);
}

impl Batch {
    fn add(&mut self, profile: &RequestProfile, totals: &Totals, status: StatusCode, now_us: i64) {
        let (target, weight) = (self.target, u64::from(self.one_in));
        let minute = now_us / MINUTE_US;
        let route = profile.route();
        let statements = profile.statements();
        let query_count = u64::try_from(statements.len()).unwrap_or(u64::MAX);
        let (name, is_route) = profile.counted_as(status.as_u16());
        let all = is_route.then_some(Cow::Borrowed(ALL));
        for name in all.into_iter().chain([name.into()]) {
            let requests = self.gathered_of(minute, Kind::Route, name);
            requests.sketch.record_weighted(
                totals.elapsed_us,
                status.is_server_error(),
                target,
                weight,
            );
            requests.query_count = requests
                .query_count
                .saturating_add(query_count.saturating_mul(weight));
        }
        for run in statements {
            for name in [ALL, run.name] {
                let runs = self.gathered_of(minute, Kind::Statement, name.into());
                runs.sketch
                    .record_weighted(run.elapsed_us, run.failed, target, weight);
            }
        }
        let lookups = profile.cache_lookups();
        let samples = query_count
            .saturating_add(1)
            .saturating_add(lookups.len() as u64);
        for lookup in lookups {
            for name in [ALL, lookup.name] {
                let lookups = self.gathered_of(minute, Kind::Cache, name.into());
                lookups
                    .sketch
                    .record_weighted(lookup.elapsed_us, lookup.failed, target, weight);
                let sent = if lookup.is_hit { 0 } else { weight };
                lookups.query_count = lookups.query_count.saturating_add(sent);
            }
        }
        self.gathered = self.gathered.saturating_add(samples.saturating_mul(weight));
        for slow_query in profile.take_slow_queries() {
            self.keep_slow_query(SlowQuerySeen {
                slow_query,
                route: route.clone(),
                request_id: profile.request_id().to_owned(),
                ran_at_us: now_us,
            });
        }
    }

    /// Adds a slow query that is newer than all others in the batch.
    fn keep_slow_query(&mut self, seen: SlowQuerySeen) {
        let name = seen.slow_query.name;
        let is_same = |seen: &&SlowQuerySeen| seen.slow_query.name == name;
        let is_full = self.slow_queries.len() >= MOST_SLOW_QUERIES;
        let has_two = self.slow_queries.iter().filter(is_same).count() > 1;
        if has_two || is_full {
            let kept = self.slow_queries.iter().enumerate();
            let candidates = kept.filter(|(_, seen)| !has_two || is_same(seen));
            let fastest = candidates.min_by_key(|(_, seen)| seen.slow_query.elapsed_us);
            if let Some((place, _)) = fastest {
                self.slow_queries.remove(place);
            }
        }
        self.slow_queries.push(seen);
    }

    fn gathered_of(&mut self, minute: i64, kind: Kind, name: Cow<'static, str>) -> &mut Gathered {
        self.sketches.entry(Key { minute, kind, name }).or_default()
    }

    /// Whether the batch has only requests that no route served.
    fn has_only_refused(&self) -> bool {
        self.slow_queries.is_empty() && self.sketches.keys().all(Key::is_refused)
    }

    /// Puts back a batch that couldn't be flushed.
    fn take_back(&mut self, earlier: Self) {
        for (key, one) in earlier.sketches {
            let here = self.sketches.entry(key).or_default();
            here.sketch.merge(&one.sketch);
            here.query_count = here.query_count.saturating_add(one.query_count);
        }
        let later = std::mem::replace(&mut self.slow_queries, earlier.slow_queries);
        for seen in later {
            self.keep_slow_query(seen);
        }
        self.gathered = self.gathered.saturating_add(earlier.gathered);
        self.lost = self.lost.saturating_add(earlier.lost);
        // The new batch has no values for these fields unless a sample was added since the flush began.
        (self.one_in, self.target) = (earlier.one_in, earlier.target);
    }

    /// Counts discarded samples, which are both collected and lost.
    fn give_up(&mut self, samples: u64) {
        self.gathered = self.gathered.saturating_add(samples);
        self.lost = self.lost.saturating_add(samples);
    }

    /// Discards samples from before `minute`, and counts them as lost.
    fn forget_before(&mut self, minute: i64) {
        let first = Key {
            minute,
            kind: Kind::Cache,
            name: Cow::Borrowed(""),
        };
        let kept = self.sketches.split_off(&first);
        let forgotten = std::mem::replace(&mut self.sketches, kept);
        for (key, one) in forgotten {
            if key.name == ALL || key.is_refused() {
                self.lost = self.lost.saturating_add(one.sketch.count());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_that_are_put_back_keep_their_target_and_weight() {
        let target = Target {
            limit_us: 50_000,
            percent: 90,
        };
        let (mut unsent, one_in) = (Batch::default(), 4);
        (unsent.one_in, unsent.target) = (one_in, target);
        let profile = RequestProfile::start("r".to_owned());
        unsent.add(&profile, &profile.totals(), StatusCode::OK, 0);
        let mut next = Batch::default();
        next.take_back(unsent);
        assert_eq!((next.one_in, next.target), (one_in, target));
        assert_eq!(next.gathered, 4);
    }
}
