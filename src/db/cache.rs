//! Caches reads in the key-value store for some seconds. A write to a table invalidates all entries of the table. The cache is optional: if it
//! fails, the database answers, and the answer is the same.
//!
//! Each table has a generation (a version label) in the store, which a write replaces. An entry has the generation from before its statement
//! was sent. So an entry that was read before a write and stored after the write has the old generation, and isn't found. While a write is in
//! progress, or its outcome is unknown, the table is closed, so its entries are neither stored nor found. The generation then lists each such
//! write with a deadline. When a write ends, only that write is removed from the list, because others may still be in progress. After the
//! deadline, the table is open again even if the instance of the write has disappeared.
//!
//! Each table has a fixed number of slots. A new entry replaces the entry in its slot.
//!
//! The module contains no table names. The caller passes them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::join;
use spin_sdk::key_value::{Error, Store};
use spin_sdk::pg::ParameterValue;
use uuid::Uuid;

use super::parameters::{fingerprint, texts};
use super::{Answer, Db, DbError, Freshness, Statement, within};
use crate::breaker::Breaker;
use crate::profile::{self, CacheLookup, Level, after_response, elapsed_us, now_us};

/// The prefix of a table's keys, the number of slots, and the maximum size of an entry in bytes. A table takes 96 MiB at most.
const ROWS: (&str, u64, usize) = ("row", 8192, 8 * 1024);
const LISTS: (&str, u64, usize) = ("list", 512, 64 * 1024);

/// The longest wait for the store. The limit is short, because the database can answer instead.
const LIMIT: Duration = Duration::from_millis(250);

/// How long a store isn't read after it failed.
const PAUSE: Duration = Duration::from_secs(1);

/// The store, and its state as this instance knows it.
pub(super) struct Cache {
    ttl: Duration,
    /// The tables whose reads may be cached.
    tables: &'static [&'static str],
    /// The prefix of all keys, because databases may share a store.
    database: String,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    store: Option<Arc<Store>>,
    breaker: Breaker,
}

/// The statement, the generation and the time of an entry.
#[derive(Debug)]
struct Header {
    /// A hash of the statement's text, and its parameters.
    of: String,
    /// The table's generation before the statement was sent.
    generation: String,
    /// The time before the statement was sent, in milliseconds since 1970.
    read_at_ms: u64,
}

impl Header {
    fn of(statement: &'static Statement, parameters: &[ParameterValue]) -> Result<Self, DbError> {
        // Hashes the text, because in another version of the component a statement of the same name may return something else.
        let mut of = fingerprint(statement.sql, &[]).to_string();
        for text in texts(statement.name, parameters)? {
            // No text contains a NUL character, so different parameters give different strings with NUL as the separator.
            of.push('\0');
            if let Some(text) = text {
                of.push('=');
                of.push_str(&text);
            }
        }
        Ok(Self {
            of,
            generation: String::new(),
            read_at_ms: now_ms(),
        })
    }
}

/// Returns the key prefix, the number of slots and the maximum size of an entry for a statement's answers.
fn part(statement: &Statement) -> (&'static str, u64, usize) {
    if statement.max_rows == 1 { ROWS } else { LISTS }
}

/// Returns the slot for the answer of a statement with these parameters. Several answers may share a slot.
fn place(statement: &Statement, parameters: &[ParameterValue]) -> String {
    let (part, places, _) = part(statement);
    let place = fingerprint(statement.sql, parameters) % places;
    [part, "/", &place.to_string()].concat()
}

/// Returns a hash of a database's address without the password.
fn database(address: &str) -> String {
    let parts = address.split_whitespace();
    let parts = parts.filter(|part| !part.starts_with("password="));
    let parts: Vec<_> = parts
        .map(|part| part.rsplit('@').next().unwrap_or_default())
        .collect();
    format!("{:016x}", fingerprint(&parts.join(" "), &[]))
}

/// A write's closing of a table, whose entries are neither stored nor found until `until_ms` or the write's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Closing {
    until_ms: u64,
    id: u64,
}

/// The maximum number of closings of a table. If there are more, all are merged into one, which lasts as long as the longest of them.
const MOST_CLOSINGS: usize = 64;

/// Returns the closings in a generation, without the expired ones.
fn closings(generation: &str, now_ms: u64) -> Vec<Closing> {
    let texts = generation.strip_prefix("until ").unwrap_or_default();
    let closings = texts.split(' ').filter_map(|text| {
        let (until_ms, id) = text.split_once('-')?;
        Some(Closing {
            until_ms: until_ms.parse().ok()?,
            id: id.parse().ok()?,
        })
    });
    closings
        .filter(|closing| now_ms < closing.until_ms)
        .collect()
}

/// Returns the generation of a table with these closings, or a new random generation if there are no closings.
fn generation(closings: &[Closing]) -> String {
    if closings.is_empty() {
        return Uuid::new_v4().to_string();
    }
    let texts = closings
        .iter()
        .map(|Closing { until_ms, id }| format!("{until_ms}-{id}"));
    ["until ", &texts.collect::<Vec<_>>().join(" ")].concat()
}

/// Returns the closings with one added.
fn begun(mut closings: Vec<Closing>, closing: Closing) -> Vec<Closing> {
    closings.push(closing);
    if closings.len() > MOST_CLOSINGS {
        let until_ms = closings.iter().map(|closing| closing.until_ms).max();
        let until_ms = until_ms.unwrap_or(closing.until_ms);
        // No write has the id 0, so no write removes the merged closing, which ends at `until_ms`.
        closings = vec![Closing { until_ms, id: 0 }];
    }
    closings
}

/// Encodes an answer. The entry's first line has the time of the read and the lengths of three texts (generation, statement with parameters,
/// note). These texts and the JSON follow. Returns `None` if the result is longer than `most_bytes`.
fn entry(header: &Header, json: &str, note: &str, most_bytes: usize) -> Option<Vec<u8>> {
    let parts = [&header.generation, &header.of, note];
    let lengths = parts.map(|part| part.len().to_string()).join(" ");
    let line = [&header.read_at_ms.to_string(), " ", &lengths, "\n"].concat();
    let entry = [&line, &parts.concat(), json].concat();
    (entry.len() <= most_bytes).then(|| entry.into_bytes())
}

/// Decodes an entry. Returns the entry's answer if the entry is younger than `ttl` and matches `sought`.
fn found(entry: Vec<u8>, sought: &Header, ttl: Duration) -> Option<Answer> {
    let mut rest = String::from_utf8(entry).ok()?;
    let line = rest.find('\n')?.checked_add(1)?;
    let json = rest.split_off(line);
    let mut numbers = rest.trim_end().split(' ').map(str::parse);
    let mut number = || numbers.next()?.ok();
    let read_at_ms: u64 = number()?;
    let mut rest = json;
    let mut part = || {
        let length = usize::try_from(number()?).ok()?;
        let after = rest
            .is_char_boundary(length)
            .then(|| rest.split_off(length))?;
        Some(std::mem::replace(&mut rest, after))
    };
    let (generation, of, note) = (part()?, part()?, part()?);
    // An entry from the future comes from a host whose clock is ahead, so the entry's age is unknown.
    let age_ms = sought.read_at_ms.checked_sub(read_at_ms)?;
    let is_fresh = u128::from(age_ms) < ttl.as_millis();
    let is_sought = generation == sought.generation && of == sought.of;
    (is_fresh && is_sought).then_some(Answer {
        json: Some(rest),
        note: (!note.is_empty()).then_some(note),
    })
}

impl Cache {
    pub(super) fn new(ttl: Duration, address: &str, tables: &'static [&'static str]) -> Self {
        Self {
            ttl,
            tables,
            database: database(address),
            state: Mutex::default(),
        }
    }

    /// Returns the store, which the first call opens.
    async fn store(&self) -> Result<Arc<Store>, Error> {
        let open = self.state().store.clone();
        if let Some(store) = open {
            return Ok(store);
        }
        let store = Arc::new(Store::open_default().await?);
        self.state().store = Some(store.clone());
        Ok(store)
    }

    /// Returns the key of a slot in a table, or of the table's generation if `place` is empty.
    fn key(&self, table: &str, place: &str) -> String {
        [&self.database, "/", table, "/", place].concat()
    }

    /// Returns a table's generation, which is empty if no write has changed the table yet.
    async fn generation(&self, table: &str) -> Result<String, Error> {
        let generation = self.store().await?.get(self.key(table, "")).await?;
        Ok(String::from_utf8(generation.unwrap_or_default()).unwrap_or_default())
    }

    /// Returns a table's generation, and the entry in a slot.
    async fn look(&self, table: &str, place: &str) -> Result<(String, Option<Vec<u8>>), Error> {
        let store = self.store().await?;
        let place = store.get(self.key(table, place));
        let (generation, entry) = join(self.generation(table), place).await;
        Ok((generation?, entry?))
    }

    async fn set(&self, table: &str, place: &str, value: &[u8]) -> Result<(), Error> {
        let key = self.key(table, place);
        self.store().await?.set(key, value).await
    }

    /// Returns the cached tables that a statement may change.
    fn changed_by(&self, statement: &Statement) -> Vec<&'static str> {
        let tables = self.tables.iter().copied();
        tables.filter(|table| statement.changes(table)).collect()
    }

    /// Whether the store failed within the last `PAUSE`.
    fn is_paused(&self) -> bool {
        self.state().breaker.is_open(Instant::now())
    }

    /// Records the outcome of an operation. Returns true for the first of successive failures, which the caller logs.
    fn learn(&self, failed: bool) -> bool {
        let mut state = self.state();
        if failed {
            state.store = None;
            state.breaker.failed(Instant::now(), PAUSE)
        } else {
            state.breaker.succeeded();
            false
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Db {
    /// Reads one table like [`answer`](Self::answer), but from the cache if possible, unless the client has just written. On a miss, the
    /// primary answers, and the answer is cached after the response is sent. Answers of a replica aren't cached, because their data may be
    /// older than the entry's time.
    pub async fn cached(
        &self,
        table: &'static str,
        statement: &'static Statement,
        parameters: Vec<ParameterValue>,
    ) -> Result<Answer, DbError> {
        let asks = self
            .reads
            .as_ref()
            .is_some_and(|reads| reads.freshness == Freshness::Any);
        let cache = self.database.cache.as_ref();
        let Some(cache) = cache.filter(|cache| asks && !cache.is_paused()) else {
            return self.answer(statement, parameters).await;
        };
        let place = place(statement, &parameters);
        let mut header = Header::of(statement, &parameters)?;
        let clock = Instant::now();
        let looked = self.asked(cache, cache.look(table, &place)).await;
        let failed = looked.is_none();
        let mut may_keep = !failed;
        let answer = looked.and_then(|(generation, entry)| {
            may_keep = closings(&generation, header.read_at_ms).is_empty();
            header.generation = generation;
            found(entry?, &header, cache.ttl).filter(|_| may_keep)
        });
        self.profile.record_cache_lookup(CacheLookup {
            name: statement.name,
            elapsed_us: elapsed_us(clock),
            is_hit: answer.is_some(),
            failed,
        });
        if let Some(answer) = answer {
            self.profile.record_read_from("cache");
            return Ok(answer);
        }
        let answer = self.primary_with_retry(statement, parameters).await?;
        let note = answer.note.as_deref().unwrap_or_default();
        let json = answer.json.as_deref();
        let (.., most_bytes) = part(statement);
        let entry = json.and_then(|json| entry(&header, json, note, most_bytes));
        if let Some(entry) = entry.filter(|_| may_keep) {
            let db = self.clone();
            after_response(async move {
                if let Some(cache) = &db.database.cache {
                    db.asked(cache, cache.set(table, &place, &entry)).await;
                }
            });
        }
        Ok(answer)
    }

    /// Runs `work`, which executes `statement`. Before and after a write, invalidates the cached entries of the write's tables.
    pub(super) async fn invalidating(
        &self,
        statement: &Statement,
        work: impl Future<Output = Result<Answer, DbError>>,
    ) -> Result<Answer, DbError> {
        let cache = self.database.cache.as_ref();
        let changed = cache.map_or_else(Vec::new, |cache| cache.changed_by(statement));
        if changed.is_empty() {
            return work.await;
        }
        let closing = self.begin_change(&changed).await;
        let outcome = work.await;
        self.end_change(&changed, closing, &outcome).await;
        outcome
    }

    /// Invalidates the entries of tables before a write. Until the write ends, reads of these tables aren't cached. If this request is lost, the
    /// closing expires after the longest time that the write can take.
    async fn begin_change(&self, tables: &[&'static str]) -> Closing {
        let config = self.config();
        // A write with an idempotency key may be sent twice, so the time is doubled.
        let longest = (config.db_connect_timeout + self.primary_limit()).saturating_mul(2);
        let longest_ms = u64::try_from(longest.as_millis()).unwrap_or(u64::MAX);
        let closing = Closing {
            until_ms: now_ms().saturating_add(longest_ms),
            id: Uuid::new_v4().as_u64_pair().0,
        };
        self.change_closings(tables, |closings| begun(closings, closing))
            .await;
        closing
    }

    /// Ends a write's closing of its tables. Later reads are cached again, unless another write has closed the tables too. If the outcome of
    /// the write is unknown, the tables stay closed for the longest time that a write can take. If the store fails, other clients may read old
    /// entries until these expire, but the writer bypasses the cache.
    async fn end_change(
        &self,
        tables: &[&'static str],
        closing: Closing,
        outcome: &Result<Answer, DbError>,
    ) {
        let is_uncertain = matches!(
            outcome,
            Err(DbError::Unavailable { sent: true, .. }
                | DbError::Timeout { .. }
                | DbError::Other { .. })
        );
        if is_uncertain {
            self.begin_change(tables).await;
        } else {
            self.change_closings(tables, |mut closings| {
                closings.retain(|other| other.id != closing.id);
                closings
            })
            .await;
        }
    }

    /// Gives tables a new generation. The store has no transactions, so if two writes begin at the same moment, one may overwrite the other's
    /// closing. The overwritten closing matters only if the request of its write is lost as well.
    async fn change_closings(
        &self,
        tables: &[&'static str],
        change: impl Fn(Vec<Closing>) -> Vec<Closing>,
    ) {
        if let Some(cache) = &self.database.cache {
            for table in tables {
                let changed = async {
                    let stood = cache.generation(table).await?;
                    let closings = change(closings(&stood, now_ms()));
                    cache.set(table, "", generation(&closings).as_bytes()).await
                };
                self.asked(cache, changed).await;
            }
        }
    }

    /// Returns the store's result, or `None` if the store fails or takes too long.
    async fn asked<T>(
        &self,
        cache: &Cache,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Option<T> {
        let outcome = within(LIMIT, work).await;
        let outcome = outcome.unwrap_or_else(|| {
            let reason = format!("no answer within {} ms", LIMIT.as_millis());
            Err(Error::Other(reason))
        });
        if cache.learn(outcome.is_err())
            && let Err(error) = &outcome
        {
            let message = format!(
                "CACHE FAILED: {error}: the database is read; check the key-value store \"default\", or set cache_seconds to 0"
            );
            let fields = [("event", "cache_failed".into())];
            profile::line(Level::Warning, &message, &self.profile, &fields);
        }
        outcome.ok()
    }
}

fn now_ms() -> u64 {
    u64::try_from(now_us() / 1000).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATEMENT: Statement = Statement {
        name: "agent_get",
        sql: "SELECT",
        effect: super::super::Effect::Reads,
        access: super::super::Access::Scans(""),
        max_rows: 1,
    };

    fn header(read_at_ms: u64) -> Header {
        Header {
            of: "agent_get\0a\nb".to_owned(),
            generation: "g".to_owned(),
            read_at_ms,
        }
    }

    #[test]
    fn a_cache_hit_needs_a_fresh_entry_with_a_matching_header() {
        let second = Duration::from_secs(1);
        let json = "{\"name\": \"\u{e4}\"}\n";
        for note in ["", "12.\u{e4}"] {
            let kept = entry(&header(5000), json, note, 1000).unwrap();
            let answer = Answer {
                json: Some(json.to_owned()),
                note: (!note.is_empty()).then(|| note.to_owned()),
            };
            let sought = |header: Header| found(kept.clone(), &header, second);
            assert_eq!(sought(header(5000)), Some(answer.clone()));
            assert_eq!(sought(header(5999)), Some(answer));
            assert_eq!(sought(header(6000)), None, "too old");
            assert_eq!(sought(header(4999)), None, "from the future");
            let later = Header {
                generation: "h".to_owned(),
                ..header(5000)
            };
            assert_eq!(sought(later), None, "written to meanwhile");
            for of in ["agent_get\0a", "agent_get\0a\nbc", "agent_status\0a\nb"] {
                let of = of.to_owned();
                let other = Header { of, ..header(5000) };
                assert_eq!(sought(other), None, "another one in the same place");
            }
        }
    }

    #[test]
    fn malformed_entries_are_ignored_and_oversized_ones_not_stored() {
        for text in [
            "",
            "\n",
            "{}\n{}",
            "1 2\n",
            "0 1 1 9\nabc",
            "0 1 1 1\na\u{e4}",
            "a 0 0 0\n",
            "0 -1 0 0\n",
        ] {
            let bytes = text.as_bytes().to_vec();
            assert_eq!(found(bytes, &header(0), Duration::MAX), None, "{text}");
        }
        assert_eq!(found(vec![0xff, b'\n'], &header(0), Duration::MAX), None);
        let length = entry(&header(0), "{}", "", 1000).unwrap().len();
        assert!(entry(&header(0), "{}", "", length).is_some());
        assert!(entry(&header(0), "{}", "", length - 1).is_none());
    }

    #[test]
    fn cache_headers_differ_when_any_parameter_differs() {
        let text = |text: &str| ParameterValue::Str(text.to_owned());
        let sought = |parameters: &[ParameterValue]| {
            static OF: Statement = STATEMENT;
            Header::of(&OF, parameters).unwrap().of
        };
        let different = [
            sought(&[]),
            sought(&[text("")]),
            sought(&[ParameterValue::DbNull]),
            sought(&[text(""), text("")]),
            sought(&[text("a"), text("b")]),
            sought(&[text("ab")]),
        ];
        for (n, one) in different.iter().enumerate() {
            assert!(!different[..n].contains(one), "{one:?}");
        }
    }

    #[test]
    fn the_number_of_store_keys_per_statement_is_bounded() {
        let list = Statement {
            max_rows: 200,
            ..STATEMENT
        };
        for (statement, places) in [(&STATEMENT, 8192), (&list, 512)] {
            let keys =
                (0..100_000).map(|offset| place(statement, &[ParameterValue::Int64(offset)]));
            let keys: std::collections::BTreeSet<_> = keys.collect();
            assert_eq!(keys.len(), places);
        }
    }

    #[test]
    fn the_database_hash_ignores_the_password() {
        let first = database("postgres://u:p@h:1/d?application_name=a");
        assert_eq!(
            first,
            database("postgres://u:p@ss@h:1/d?application_name=a")
        );
        assert_ne!(first, database("postgres://u:p@h:1/e?application_name=a"));
        let first = database("host=h password=p dbname=d");
        assert_eq!(first, database("host=h password=q dbname=d"));
        assert_ne!(first, database("host=h password=p dbname=e"));
    }

    #[test]
    fn each_closing_lasts_until_its_deadline_and_their_number_is_limited() {
        let closing = |until_ms, id| Closing { until_ms, id };
        let (one, two) = (closing(5000, 1), closing(6000, 2));
        let generation = generation(&begun(begun(vec![], one), two));
        assert_eq!(generation, "until 5000-1 6000-2");
        assert_eq!(closings(&generation, 4999), [one, two]);
        assert_eq!(closings(&generation, 5000), [two]);
        assert_eq!(closings(&generation, 6000), []);
        for other in [
            "",
            "until ",
            "until x",
            "until 5000",
            "until 5000-",
            "until -1",
            "5b0e0e5e-8d0f-4a30-9f5b-0a7d9b4a3c11",
        ] {
            assert_eq!(closings(other, 0), [], "{other}");
        }
        let many = (1..=100).fold(vec![], |many, id| begun(many, closing(id * 1000, id)));
        assert!(many.len() <= MOST_CLOSINGS);
        assert!(many.iter().any(|closing| closing.until_ms == 100_000));
    }

    #[test]
    fn each_generation_without_closings_is_unique() {
        assert_ne!(generation(&[]), generation(&[]));
        assert_eq!(closings(&generation(&[]), 0), []);
    }

    #[test]
    fn a_failing_store_is_bypassed_and_reported_once_per_outage() {
        let cache = Cache::new(Duration::from_secs(1), "postgres://h/d", &["agents"]);
        assert!(!cache.is_paused());
        assert!(!cache.learn(false));
        assert!(cache.learn(true));
        assert!(cache.is_paused());
        assert!(!cache.learn(true), "it's the same time");
        assert!(!cache.learn(false));
        assert!(cache.learn(true));
    }
}
