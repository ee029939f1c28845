//! The only access to the database. Every statement is sent through [`Db`], which counts it, times it and names it in the log.
//!
//! Contains no code for tables or HTTP. No other module of the component may open a connection.

mod cache;
mod error;
mod pool;
mod replica;
mod sqlstate;
mod statement;

use std::borrow::Cow;
use std::hash::Hasher as _;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::{Either, select};
use spin_sdk::pg::{Certificate, Connection, DbValue, OpenOptions, ParameterValue, QueryResult};
use twox_hash::XxHash64;

use cache::Cache;
pub use error::DbError;
use pool::{Checkout, Pool};
use replica::Replica;
pub use replica::{Freshness, Reads};
pub use spin_sdk::pg::ParameterValue as Parameter;
pub use sqlstate::{Failure, MEANINGS, Meaning, OTHER, Repeat};
pub use statement::{Access, Effect, Statement};

use crate::config::Config;
use crate::config::address::Address;
use crate::profile::{self, Level, RequestProfile, SlowQuery, StatementRun, elapsed_us};

/// The databases, their connections and the cache, which all requests of an instance share.
pub struct Database {
    config: Config,
    primary: Server,
    replica: Option<Replica>,
    cache: Option<Cache>,
}

/// A PostgreSQL server, and this instance's connections to it.
struct Server {
    address: Address,
    /// The address as a URL for the host.
    url: String,
    /// The variable that contains the address.
    variable: &'static str,
    pool: Arc<Pool<Connection>>,
}

impl Server {
    fn at(address: &Address, variable: &'static str) -> Self {
        Self {
            address: address.clone(),
            url: address.to_url(),
            variable,
            pool: Pool::new(),
        }
    }
}

impl Database {
    /// Creates the access to the database in `config`, without opening a connection. Reads of the tables in `cached` are cached
    /// unless `config.cache_ttl` is zero.
    #[must_use]
    pub fn new(config: Config, cached: &'static [&'static str]) -> Arc<Self> {
        let primary = Server::at(&config.db_address, "db_url");
        let replica = config.db_read_address.as_ref();
        Arc::new(Self {
            replica: replica.map(|address| Replica::new(Server::at(address, "db_read_url"))),
            cache: (!config.cache_ttl.is_zero())
                .then(|| Cache::new(config.cache_ttl, &primary.url, cached)),
            primary,
            config,
        })
    }

    /// Returns the configuration.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }
}

/// The database access of one request. Every statement is recorded in that request's profile.
#[derive(Clone)]
pub struct Db {
    database: Arc<Database>,
    profile: Arc<RequestProfile>,
    /// The idempotency key of writes, and the statement that runs a write once under that key.
    key: Option<(String, &'static Statement)>,
    /// When reads may use the cache or the replica. `None` means reads use the primary only.
    reads: Option<Reads>,
    /// The write statements sent so far, shared by all clones.
    writes: Arc<Mutex<Vec<&'static Statement>>>,
}

/// The result of a statement: one row of one or two texts. If there is no row, both fields are `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// The JSON that PostgreSQL built.
    pub json: Option<String>,
    /// The second text, for example where the next page begins, or why a write changed nothing.
    pub note: Option<String>,
}

/// A statement, with the text and the parameters that are sent to PostgreSQL.
struct Query {
    name: &'static str,
    sql: Cow<'static, str>,
    parameters: Vec<ParameterValue>,
    /// The text and the parameters of the statement that runs this one under an idempotency key.
    inside: Option<(&'static str, Vec<ParameterValue>)>,
}

impl Query {
    fn of(statement: &'static Statement, parameters: Vec<ParameterValue>) -> Self {
        Self {
            name: statement.name,
            sql: statement.sql.into(),
            parameters,
            inside: None,
        }
    }
}

impl Db {
    /// Creates the access for the request that `profile` belongs to.
    #[must_use]
    pub fn new(database: Arc<Database>, profile: Arc<RequestProfile>) -> Self {
        Self {
            database,
            profile,
            key: None,
            reads: None,
            writes: Arc::default(),
        }
    }

    /// Creates the access for background work, whose statements are in no request's profile.
    #[must_use]
    pub fn in_the_background(database: Arc<Database>) -> Self {
        let profile = RequestProfile::start("background".to_owned());
        Self::new(database, Arc::new(profile))
    }

    /// Returns the configuration.
    #[must_use]
    pub fn config(&self) -> &Config {
        self.database.config()
    }

    /// Whether the cache is enabled.
    #[must_use]
    pub fn caches(&self) -> bool {
        self.database.cache.is_some()
    }

    /// Whether each read first asks the replica for its position, because the client must see its own write.
    #[must_use]
    pub fn asks_replica_first(&self) -> bool {
        let has_replica = self.database.replica.is_some();
        let freshness = self.reads.as_ref().map(|reads| &reads.freshness);
        has_replica && matches!(freshness, Some(Freshness::Position(_)))
    }

    /// Runs every write once under this idempotency key, by the statement `once`. The parameters of `once` are the key, and the
    /// write's name, text and parameters.
    #[must_use]
    pub fn keyed(mut self, key: String, once: &'static Statement) -> Self {
        self.key = Some((key, once));
        self
    }

    /// Lets reads use the cache or the replica if these are as fresh as `reads` requires.
    #[must_use]
    pub fn reading(mut self, reads: Reads) -> Self {
        self.reads = Some(reads);
        self
    }

    /// Returns the write statements sent so far, including failed ones.
    #[must_use]
    pub fn writes(&self) -> Vec<&'static Statement> {
        self.writes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Writes a warning to the log, with the request's id.
    pub fn warn(&self, event: &'static str, message: &str) {
        let fields = [("event", event.into())];
        profile::line(Level::Warning, message, &self.profile, &fields);
    }

    /// Runs a statement and returns its answer. A read may use the replica. If that fails, it uses the primary.
    pub async fn answer(
        &self,
        statement: &'static Statement,
        parameters: Vec<ParameterValue>,
    ) -> Result<Answer, DbError> {
        if let Some((replica, reads)) = self.database.replica.as_ref().zip(self.reads)
            && statement.is_read()
            && let Some(answer) = self
                .replica_answer(replica, reads, statement, &parameters)
                .await
        {
            return Ok(answer);
        }
        let cache = self.database.cache.as_ref();
        let changed = cache.map_or_else(Vec::new, |cache| cache.changed_by(statement));
        if changed.is_empty() {
            return self.primary_answer(statement, parameters).await;
        }
        let closing = self.begin_change(&changed).await;
        let outcome = self.primary_answer(statement, parameters).await;
        self.end_change(&changed, closing, &outcome).await;
        outcome
    }

    /// Runs a statement like [`answer`](Self::answer), but on the primary. After a transient failure the statement is sent once
    /// more. If it may have been executed, for example because the connection broke, only reads, whose rows the client has not
    /// received, and writes with an idempotency key are sent again.
    pub async fn primary_answer(
        &self,
        statement: &'static Statement,
        parameters: Vec<ParameterValue>,
    ) -> Result<Answer, DbError> {
        let key = self.key.as_ref().filter(|_| !statement.is_read());
        let name = statement.name;
        let mut query = Query::of(statement, parameters);
        if let Some((key, once)) = key {
            query.inside = Some((once.sql, once_parameters(key, &query)?));
        }
        let is_harmless = statement.is_read() || key.is_some();
        match self.answer_once(statement, &query).await {
            Err(error) if error.repeats(is_harmless) => {
                let message = format!("TRIED AGAIN: {name}: {}", replica::reason(&error));
                self.warn("tried_again", &message);
                self.answer_once(statement, &query).await
            }
            outcome => outcome,
        }
    }

    async fn answer_once(
        &self,
        statement: &'static Statement,
        query: &Query,
    ) -> Result<Answer, DbError> {
        let checkout = self.primary_checkout(query.name).await?;
        if !statement.is_read() {
            let mut writes = self.writes.lock().unwrap_or_else(PoisonError::into_inner);
            writes.push(statement);
        }
        let limit = self.silence_limit();
        let outcome = self.measured(&checkout, query, limit).await;
        Self::check_in(&self.database.primary, checkout, outcome.as_ref().err());
        outcome
    }

    async fn primary_checkout(&self, name: &'static str) -> Result<Checkout<Connection>, DbError> {
        let limit = self.config().db_connect_timeout;
        self.checkout(&self.database.primary, name, limit).await
    }

    /// Returns how long to wait for the primary's answer: one second longer than the statement timeout, which comes first.
    fn silence_limit(&self) -> Duration {
        self.config().db_statement_timeout + Duration::from_secs(1)
    }

    /// Runs a statement over this connection within the limit, and records it in the profile. The log and the plan show the
    /// statement itself, even if another statement runs it.
    async fn measured(
        &self,
        checkout: &Checkout<Connection>,
        query: &Query,
        limit: Duration,
    ) -> Result<Answer, DbError> {
        let Query {
            name,
            sql,
            parameters,
            ..
        } = query;
        let name = *name;
        let fingerprint = fingerprint(name, parameters);
        let clock = Instant::now();
        let rows = Self::rows(checkout, query, limit).await;
        let outcome = rows.and_then(|rows| only_answer(name, rows));
        let elapsed_us = elapsed_us(clock);
        self.profile.record_statement(StatementRun {
            name,
            elapsed_us,
            failed: outcome.is_err(),
            parameters: fingerprint,
        });
        let thresholds = &self.config().thresholds;
        profile::slow_query(name, sql, elapsed_us, thresholds, &self.profile);
        if elapsed_us >= thresholds.query_error_us {
            let db = Self::in_the_background(self.database.clone());
            let kept = is_small(parameters).then(|| parameters.clone());
            let sql = format!("EXPLAIN (FORMAT JSON) {sql}").into();
            self.profile.record_slow_query(SlowQuery {
                name,
                elapsed_us,
                plan: Box::pin(async move {
                    let parameters = kept?;
                    let explain = Query {
                        name,
                        sql,
                        parameters,
                        inside: None,
                    };
                    db.plan(&explain).await.ok()
                }),
            });
        }
        outcome
    }

    /// Returns a statement's plan as JSON without running the statement. `explain` is its EXPLAIN query.
    async fn plan(&self, explain: &Query) -> Result<String, DbError> {
        let name = explain.name;
        let checkout = self.primary_checkout(name).await?;
        let rows = Self::rows(&checkout, explain, self.silence_limit()).await;
        Self::check_in(&self.database.primary, checkout, rows.as_ref().err());
        let rows = rows?;
        // The column has the type json. The host doesn't support it and passes on the bytes of its text.
        match rows.into_iter().flatten().next() {
            Some(DbValue::Unsupported(bytes)) => {
                String::from_utf8(bytes).map_err(|error| error.to_string())
            }
            Some(DbValue::Str(text)) => Ok(text),
            _ => Err("no plan".to_owned()),
        }
        .map_err(|found| DbError::Decode {
            statement: name,
            found,
        })
    }

    /// Returns a connection within the time limit. Records the wait separately from the query time.
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the place the rule sends everyone to"
    )]
    async fn checkout(
        &self,
        server: &Server,
        name: &'static str,
        limit: Duration,
    ) -> Result<Checkout<Connection>, DbError> {
        let clock = Instant::now();
        let options = OpenOptions {
            ca_root: self.config().db_ca.clone().map(Certificate::Text),
        };
        let open = Connection::open_with_options(server.url.as_str(), options);
        let outcome = within(limit, server.pool.checkout(open)).await;
        self.profile.record_connection_wait(elapsed_us(clock));
        match outcome {
            Some(Ok(checkout)) => Ok(checkout),
            Some(Err(error)) => Err(DbError::from_open(
                name,
                &server.address,
                server.variable,
                error,
            )),
            None => Err(DbError::no_connection_within(limit.as_millis())),
        }
    }

    /// Returns a connection to the pool, unless the error suggests that the connection is broken.
    fn check_in(server: &Server, checkout: Checkout<Connection>, error: Option<&DbError>) {
        match error {
            None
            | Some(
                DbError::Refused { .. }
                | DbError::Decode { .. }
                | DbError::Unavailable {
                    keeps_session: true,
                    ..
                },
            ) => server.pool.give_back(checkout),
            Some(DbError::Unavailable { .. }) => server.pool.forget_idle(),
            // The connection isn't reused, because its answer may still arrive or the host failed.
            Some(DbError::Timeout { .. } | DbError::Other { .. }) => {}
        }
    }

    /// Sends a statement and reads its result to the end, because rows and errors arrive only while it is read.
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the place the rule sends everyone to"
    )]
    async fn rows(
        checkout: &Checkout<Connection>,
        query: &Query,
        limit: Duration,
    ) -> Result<Vec<Vec<DbValue>>, DbError> {
        let name = query.name;
        let (sql, parameters) = match &query.inside {
            Some((sql, parameters)) => (*sql, parameters),
            None => (&*query.sql, &query.parameters),
        };
        let sent = parameters.clone();
        let run = async { drain(checkout.connection().query(sql, sent).await?).await };
        match within(limit, run).await {
            Some(Ok(rows)) => Ok(rows),
            Some(Err(error)) => Err(DbError::from_host(name, &[sql, &query.sql], error)),
            None => Err(DbError::Timeout {
                statement: name,
                reason: format!("no answer within {} ms", limit.as_millis()),
            }),
        }
    }
}

/// The most parameters of a write with an idempotency key. The function in migration 0007 passes on this many.
const MOST_ONCE_PARAMETERS: usize = 8;

/// Returns the parameters of the statement that runs `query` once under a key. It takes those of `query` as texts.
fn once_parameters(key: &str, query: &Query) -> Result<Vec<ParameterValue>, DbError> {
    if query.parameters.len() > MOST_ONCE_PARAMETERS {
        return Err(DbError::Other {
            statement: query.name,
            reason: format!("more than {MOST_ONCE_PARAMETERS} parameters"),
        });
    }
    Ok(vec![
        ParameterValue::Str(key.to_owned()),
        ParameterValue::Str(query.name.to_owned()),
        ParameterValue::Str(query.sql.to_string()),
        ParameterValue::ArrayStr(texts(query.name, &query.parameters)?),
    ])
}

/// Returns a statement's parameters as texts.
fn texts(
    statement: &'static str,
    parameters: &[ParameterValue],
) -> Result<Vec<Option<String>>, DbError> {
    let texts = parameters.iter().map(|parameter| match parameter {
        ParameterValue::Str(text) | ParameterValue::Uuid(text) => Ok(Some(text.clone())),
        ParameterValue::Int32(number) => Ok(Some(number.to_string())),
        ParameterValue::Int64(number) => Ok(Some(number.to_string())),
        ParameterValue::Boolean(value) => Ok(Some(value.to_string())),
        ParameterValue::DbNull => Ok(None),
        _ => Err(DbError::Other {
            statement,
            reason: "it has a parameter that isn't a text, a number or a truth value".to_owned(),
        }),
    });
    texts.collect()
}

/// The most bytes of text in parameters that are kept for a plan.
const MOST_KEPT_BYTES: usize = 64 * 1024;

fn is_small(parameters: &[ParameterValue]) -> bool {
    parameters
        .iter()
        .map(|parameter| match parameter {
            ParameterValue::Str(text) => text.len(),
            ParameterValue::ArrayStr(texts) => texts.iter().flatten().map(String::len).sum(),
            _ => 0,
        })
        .fold(0, usize::saturating_add)
        <= MOST_KEPT_BYTES
}

/// Returns a hash of a statement and its parameters. Different ones may have the same hash. Instances that share a cache must compute
/// the same hash, even if different compilers built them, so this doesn't use `std::hash::Hash`.
fn fingerprint(statement: &str, parameters: &[ParameterValue]) -> u64 {
    let mut hasher = XxHash64::with_seed(0);
    let mut write = |kind: u8, bytes: &[u8]| {
        hasher.write(&[kind]);
        hasher.write(&(bytes.len() as u64).to_le_bytes());
        hasher.write(bytes);
    };
    write(0, statement.as_bytes());
    for parameter in parameters {
        match parameter {
            ParameterValue::Uuid(text) | ParameterValue::Str(text) => write(1, text.as_bytes()),
            ParameterValue::Int32(number) => write(2, &number.to_le_bytes()),
            ParameterValue::Int64(number) => write(3, &number.to_le_bytes()),
            ParameterValue::Boolean(value) => write(4, &[u8::from(*value)]),
            ParameterValue::ArrayStr(texts) => {
                write(5, &(texts.len() as u64).to_le_bytes());
                for text in texts {
                    write(
                        u8::from(text.is_some()),
                        text.as_deref().unwrap_or_default().as_bytes(),
                    );
                }
            }
            // NULL. No statement takes parameters of other types.
            _ => write(6, &[]),
        }
    }
    hasher.finish()
}

/// Returns the outcome of `work`. If it takes longer than `limit`, cancels it and returns `None`.
pub async fn within<T>(limit: Duration, work: impl Future<Output = T>) -> Option<T> {
    match select(pin!(work), pin!(spin_sdk::time::sleep(limit))).await {
        Either::Left((outcome, _)) => Some(outcome),
        Either::Right(((), _)) => None,
    }
}

async fn drain(mut result: QueryResult) -> Result<Vec<Vec<DbValue>>, spin_sdk::pg::Error> {
    let mut rows = Vec::with_capacity(1);
    while let Some(row) = result.rows().next().await {
        rows.push(row);
    }
    result.result().await?;
    Ok(rows)
}

fn only_answer(statement: &'static str, rows: Vec<Vec<DbValue>>) -> Result<Answer, DbError> {
    let row_count = rows.len();
    let mut rows = rows.into_iter();
    let found = match (rows.next(), rows.next()) {
        (None, _) => return Ok(Answer::default()),
        (Some(row), None) => {
            let column_count = row.len();
            let mut texts: Result<Vec<_>, _> = row.into_iter().map(text_or_null).collect();
            match texts.as_deref_mut() {
                Ok([json]) => {
                    return Ok(Answer {
                        json: json.take(),
                        note: None,
                    });
                }
                Ok([json, note]) => {
                    return Ok(Answer {
                        json: json.take(),
                        note: note.take(),
                    });
                }
                _ => format!("{column_count} columns of other types"),
            }
        }
        (Some(_), Some(_)) => format!("{row_count} rows"),
    };
    Err(DbError::Decode { statement, found })
}

/// Returns the text, `None` for NULL, or any other value as the error.
fn text_or_null(value: DbValue) -> Result<Option<String>, DbValue> {
    match value {
        DbValue::Str(text) => Ok(Some(text)),
        DbValue::DbNull => Ok(None),
        other => Err(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_depends_on_every_parameter() {
        let of = |id: &str, number| {
            let parameters = [
                ParameterValue::Uuid(id.to_owned()),
                ParameterValue::Int32(number),
            ];
            fingerprint("agent_get", &parameters)
        };
        assert_eq!(of("a", 1), of("a", 1));
        assert_ne!(of("a", 1), of("a", 2));
        assert_ne!(of("a", 1), of("b", 1));
    }

    #[test]
    fn a_fingerprint_does_not_depend_on_the_compiler() {
        let parameters = [
            ParameterValue::Int64(-1),
            ParameterValue::ArrayStr(vec![Some("a".to_owned()), None]),
            ParameterValue::DbNull,
        ];
        assert_eq!(
            fingerprint("agent_get", &parameters),
            4_560_537_740_299_471_061
        );
    }

    #[test]
    fn an_answer_is_at_most_one_row_with_one_or_two_text_columns() {
        let text = || DbValue::Str("{}".to_owned());
        let answer = |json: Option<&str>, note: Option<&str>| Answer {
            json: json.map(str::to_owned),
            note: note.map(str::to_owned),
        };
        for (rows, expected) in [
            (vec![], answer(None, None)),
            (vec![vec![DbValue::DbNull]], answer(None, None)),
            (vec![vec![text()]], answer(Some("{}"), None)),
            (
                vec![vec![text(), DbValue::DbNull]],
                answer(Some("{}"), None),
            ),
            (
                vec![vec![DbValue::DbNull, text()]],
                answer(None, Some("{}")),
            ),
        ] {
            assert_eq!(only_answer("s", rows).unwrap(), expected);
        }
        for (rows, found) in [
            (vec![vec![]], "0 columns"),
            (vec![vec![text(), text(), text()]], "3 columns"),
            (vec![vec![text()], vec![text()]], "2 rows"),
            (
                vec![vec![DbValue::Boolean(true)]],
                "1 columns of other types",
            ),
        ] {
            let error = only_answer("s", rows).unwrap_err().to_string();
            assert!(error.contains(found), "{error}");
        }
    }
}
