//! Percentiles for the whole fleet: what an instance's requests took is gathered here by minute, and handed on after
//! responses are sent, batch by batch. Nobody waits for it, and no request fails for it.
//!
//! Knows neither SQL nor the database: where a batch goes is handed in.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use http::StatusCode;
use uuid::Uuid;

use super::log::{Level, line};
use super::{RequestProfile, Sketch, SlowQuery, Totals};

/// A batch waits no longer than this for a database that's away: what's older is lost, and counted as lost.
const OLDEST_MINUTES: i64 = 3;

/// The most slow queries of one batch. Each is explained. A batch has the slowest and the newest run of each statement.
const MOST_SLOW_QUERIES: usize = 30;

/// After so many failures in a row an instance waits for [`QUIET`] before it tries again.
const MOST_FAILURES: u32 = 3;

/// How long an instance waits before it stores a batch of refused requests only. Strangers can send any number of them, and
/// each batch is a write to the database.
const REFUSED_WAIT: Duration = Duration::from_secs(5);

const QUIET: Duration = Duration::from_secs(30);

/// How an instance gathers.
#[derive(Clone, Copy, Debug)]
pub struct FleetSettings {
    /// How long samples are gathered before they're flushed.
    pub flush_interval: Duration,
    /// One in so many requests is profiled, and counts for as many.
    pub one_in: u32,
}

/// What a sketch is of; minutes first, so that old ones can be split off.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// Minutes since 1970.
    pub minute: i64,
    /// Statement or route.
    pub kind: Kind,
    /// The statement's name, or the route's method and pattern; [`ALL`] for all of them together. In parentheses, and not
    /// part of [`ALL`], the requests that no route has served.
    pub name: Cow<'static, str>,
}

impl Key {
    /// Whether it counts requests that no route has served.
    fn is_refused(&self) -> bool {
        self.kind == Kind::Route && self.name.starts_with('(')
    }
}

/// The name under which all of a kind are counted together: their percentiles can't be had from each one's.
pub const ALL: &str = "";

/// Statements, routes and lookups are counted apart. In the order of their names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Statements' answers sought in the cache, from the call until the cache had answered.
    Cache,
    /// Requests, from the handler's first line to the response.
    Route,
    /// Statements, from the call until the last row and the outcome were in.
    Statement,
}

impl Kind {
    /// As it's stored.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Cache => "cache",
            Self::Route => "route",
            Self::Statement => "statement",
        }
    }
}

/// What one minute brought of one kind and name.
#[derive(Clone, Debug, Default)]
pub struct Gathered {
    /// How long they took.
    pub sketch: Sketch,
    /// Of a route: how many statements its requests sent. Of lookups: how many of them had to be sent.
    pub query_count: u64,
}

/// A slow query, and where it was seen.
#[derive(Debug)]
pub struct SlowQuerySeen {
    /// The query.
    pub slow_query: SlowQuery,
    /// The route of its request.
    pub route: String,
    /// Its request.
    pub request_id: String,
    /// Microseconds since 1970.
    pub ran_at_us: i64,
}

/// What an instance has gathered since its last flush.
#[derive(Debug, Default)]
pub struct Batch {
    /// By minute, kind and name.
    pub sketches: BTreeMap<Key, Gathered>,
    /// The slowest queries.
    pub slow_queries: Vec<SlowQuerySeen>,
    /// Samples that were gathered: those in `sketches`, and those that were lost.
    pub gathered: u64,
    /// Samples that were gathered once, and aren't here any more.
    pub lost: u64,
    /// One in so many requests was profiled.
    pub one_in: u32,
}

/// What became of a batch.
#[derive(Debug)]
pub enum Flushed {
    /// It's stored.
    Stored,
    /// Nothing of it was sent, and it may be tried again; why.
    Unsent(Batch, String),
    /// Nobody knows whether it was stored, or it can't be: it's given up, so that nothing is counted twice; why.
    Failed(String),
}

/// Stores a batch.
pub type Flush = Box<dyn Fn(Batch) -> Pin<Box<dyn Future<Output = Flushed> + Send>> + Send + Sync>;

/// An instance's part of the fleet's profile.
pub struct Fleet {
    settings: FleetSettings,
    flush: Flush,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    batch: Batch,
    /// A task is under way that flushes what's here.
    flushing: bool,
    quiet_until: Option<Instant>,
    warned: bool,
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
    /// Gathers as `settings` say, and hands batches to `flush`.
    #[must_use]
    pub fn new(settings: FleetSettings, flush: Flush) -> Arc<Self> {
        Arc::new(Self {
            settings,
            flush,
            state: Mutex::default(),
        })
    }

    /// Takes in what a request did that's just been answered. The first one starts a task that flushes it, and all that
    /// comes in by then, a little later; the host keeps the instance until it ends.
    pub fn gather(self: &Arc<Self>, profile: &RequestProfile, totals: &Totals, status: StatusCode) {
        let one_in = u64::from(self.settings.one_in);
        // Not by the request's id: a client may choose that.
        if one_in > 1 && !Uuid::new_v4().as_u128().is_multiple_of(one_in.into()) {
            return;
        }
        let mut state = self.state();
        state.batch.one_in = self.settings.one_in;
        state.batch.add(profile, totals, status, one_in, now_us());
        let quiet = state
            .quiet_until
            .is_some_and(|until| Instant::now() < until);
        if !state.flushing && !quiet {
            state.flushing = true;
            drop(state);
            after_response(self.clone().flush_until_done());
        }
    }

    /// Flushes again and again, until there's nothing left, or the database stays away.
    async fn flush_until_done(self: Arc<Self>) {
        let mut failures = 0;
        loop {
            let patience = self.settings.flush_interval.saturating_mul(1 << failures);
            self.wait(patience).await;
            let Some(batch) = self.take() else { return };
            let gathered = batch.gathered;
            match (self.flush)(batch).await {
                Flushed::Stored => {
                    failures = 0;
                    if self.is_done() {
                        return;
                    }
                }
                Flushed::Unsent(batch, reason) => {
                    failures += 1;
                    self.state().batch.take_back(batch);
                    self.warn(&reason);
                }
                Flushed::Failed(reason) => {
                    failures += 1;
                    self.state().batch.give_up(gathered);
                    self.warn(&reason);
                }
            }
            if failures >= MOST_FAILURES {
                let mut state = self.state();
                state.flushing = false;
                state.quiet_until = Some(Instant::now() + QUIET);
                return;
            }
        }
    }

    /// Waits for the next flush: `pause`, and longer while there are only refused requests.
    async fn wait(&self, mut pause: Duration) {
        let clock = Instant::now();
        loop {
            spin_sdk::time::sleep(pause).await;
            if clock.elapsed() >= REFUSED_WAIT || !self.state().batch.has_only_refused() {
                return;
            }
            pause = pause.max(REFUSED_WAIT / 5);
        }
    }

    /// What there is to flush; without anything the task is over.
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

    /// Whether nothing has come in meanwhile; the task is over then.
    fn is_done(&self) -> bool {
        let mut state = self.state();
        let done = state.batch.sketches.is_empty();
        if done {
            state.flushing = false;
        }
        done
    }

    /// Says once that profiling has to wait.
    fn warn(&self, reason: &str) {
        let mut state = self.state();
        if !state.warned {
            state.warned = true;
            drop(state);
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

/// Goes on with `task` beside requests, and once their responses are sent.
pub fn after_response(task: impl Future<Output = ()> + Send + 'static) {
    #[cfg(target_family = "wasm")]
    spin_sdk::wasip3::spawn(task);
    // Natively there's no host that would run it: only unit tests come here.
    #[cfg(not(target_family = "wasm"))]
    drop(task);
}

impl Batch {
    fn add(
        &mut self,
        profile: &RequestProfile,
        totals: &Totals,
        status: StatusCode,
        weight: u64,
        now_us: i64,
    ) {
        let minute = now_us / MINUTE_US;
        let route = profile.route();
        let statements = profile.statements();
        let query_count = u64::try_from(statements.len()).unwrap_or(u64::MAX);
        let (name, is_route) = profile.counted_as(status.as_u16());
        let all = is_route.then_some(Cow::Borrowed(ALL));
        for name in all.into_iter().chain([name.into()]) {
            let requests = self.gathered_of(minute, Kind::Route, name);
            requests
                .sketch
                .record_weighted(totals.elapsed_us, status.is_server_error(), weight);
            requests.query_count = requests
                .query_count
                .saturating_add(query_count.saturating_mul(weight));
        }
        for run in statements {
            for name in [ALL, run.name] {
                let runs = self.gathered_of(minute, Kind::Statement, name.into());
                runs.sketch
                    .record_weighted(run.elapsed_us, run.failed, weight);
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
                    .record_weighted(lookup.elapsed_us, lookup.failed, weight);
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

    /// Keeps a slow query that is newer than all that are kept.
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

    /// Whether requests were refused, and nothing else was measured.
    fn has_only_refused(&self) -> bool {
        self.slow_queries.is_empty() && self.sketches.keys().all(Key::is_refused)
    }

    /// Puts back what couldn't be flushed.
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
    }

    /// Counts samples as lost that aren't here any more.
    fn give_up(&mut self, samples: u64) {
        self.gathered = self.gathered.saturating_add(samples);
        self.lost = self.lost.saturating_add(samples);
    }

    /// Loses what's older than a minute.
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
