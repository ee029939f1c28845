//! The only access to the database. [`Db`] sends every statement, counts and times it, and names it in the log.
//!
//! A statement goes through five steps, each of which calls the next:
//!
//! 1. [`answer`](Db::answer) **routes**: it chooses the replica or the primary. [`cached`](Db::cached) also considers the cache.
//! 2. [`primary_with_retry`](Db::primary_with_retry) **retries** once after a transient failure.
//! 3. `with_connection` **checks out** a connection, and returns it to the pool.
//! 4. `with_timing` **times** the statement, and records it in the request's profile.
//! 5. `drain` sends the statement, and **drains** its result.
//!
//! The module contains no code for tables or HTTP. No other module of the component may open a connection.

mod answer;
mod cache;
mod error;
mod parameters;
mod pool;
mod replica;
mod sqlstate;
mod statement;

use std::borrow::Cow;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::{Either, select};
use spin_sdk::pg::{Certificate, Connection, DbValue, OpenOptions, ParameterValue};

pub use answer::Answer;
use cache::Cache;
pub use error::DbError;
use parameters::{fingerprint, is_small, once_parameters};
use pool::{Checkout, Pool};
use replica::Replica;
pub use replica::{Freshness, Reads};
pub use spin_sdk::pg::ParameterValue as Parameter;
pub use sqlstate::{Failure, MEANINGS, Meaning, OTHER, Repeat};
pub use statement::{Access, Effect, Statement};

use crate::config::Config;
use crate::config::address::Address;
use crate::profile::{self, Level, RequestProfile, SlowQuery, StatementRun, elapsed_us};

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

/// The five steps of a statement.
impl Db {
    /// Step 1 of 5: runs a statement on the replica or the primary, and returns its answer. A read may use the replica, and uses the primary if
    /// the replica fails. A write invalidates the cached entries of its tables.
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
        self.invalidating(statement, self.primary_with_retry(statement, parameters))
            .await
    }

    /// Step 2 of 5: runs a statement on the primary, and once more after a transient failure. If the statement may have been executed,
    /// for example because the connection broke, only reads and writes with an idempotency key are sent again.
    pub async fn primary_with_retry(
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
        match self.with_connection(statement, &query).await {
            Err(error) if error.repeats(is_harmless) => {
                let message = format!("TRIED AGAIN: {name}: {}", replica::reason(&error));
                self.warn("tried_again", &message);
                self.with_connection(statement, &query).await
            }
            outcome => outcome,
        }
    }

    /// Step 3 of 5: checks out a connection to the primary, runs the statement, and returns the connection to the pool unless it is broken.
    async fn with_connection(
        &self,
        statement: &'static Statement,
        query: &Query,
    ) -> Result<Answer, DbError> {
        let checkout = self.primary_checkout(query.name).await?;
        if !statement.is_read() {
            let mut writes = self.writes.lock().unwrap_or_else(PoisonError::into_inner);
            writes.push(statement);
        }
        let limit = self.primary_limit();
        let outcome = self.with_timing(&checkout, query, limit).await;
        Self::check_in(&self.database.primary, checkout, outcome.as_ref().err());
        outcome
    }

    /// Step 4 of 5: runs a statement over this connection within the limit, and records its duration and outcome in the profile. For a write with an
    /// idempotency key, the log and the plan show the write instead of the statement that executes it.
    async fn with_timing(
        &self,
        checkout: &Checkout<Connection>,
        query: &Query,
        limit: Duration,
    ) -> Result<Answer, DbError> {
        let name = query.name;
        let parameters = fingerprint(name, &query.parameters);
        let clock = Instant::now();
        let rows = Self::drain(checkout, query, limit).await;
        let outcome = rows.and_then(|rows| Answer::of_rows(name, rows));
        let elapsed_us = elapsed_us(clock);
        self.profile.record_statement(StatementRun {
            name,
            elapsed_us,
            failed: outcome.is_err(),
            parameters,
        });
        let thresholds = &self.config().thresholds;
        profile::slow_query(name, &query.sql, elapsed_us, thresholds, &self.profile);
        if elapsed_us >= thresholds.query_error_us {
            self.profile
                .record_slow_query(self.slow_query(query, elapsed_us));
        }
        outcome
    }

    /// Step 5 of 5: sends a statement and reads its result to the end. Rows and errors arrive only while the result is read.
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the only place that may run SQL"
    )]
    async fn drain(
        checkout: &Checkout<Connection>,
        query: &Query,
        limit: Duration,
    ) -> Result<Vec<Vec<DbValue>>, DbError> {
        let (sql, parameters) = match &query.inside {
            Some((sql, parameters)) => (*sql, parameters),
            None => (&*query.sql, &query.parameters),
        };
        let sent = parameters.clone();
        let run = async {
            let mut result = checkout.connection().query(sql, sent).await?;
            let mut rows = Vec::with_capacity(1);
            while let Some(row) = result.rows().next().await {
                rows.push(row);
            }
            result.result().await?;
            Ok(rows)
        };
        match within(limit, run).await {
            Some(Ok(rows)) => Ok(rows),
            Some(Err(error)) => Err(DbError::from_host(query.name, &[sql, &query.sql], error)),
            None => Err(DbError::Timeout {
                statement: query.name,
                reason: format!("no answer within {} ms", limit.as_millis()),
            }),
        }
    }
}

/// A statement with its text and its parameters.
struct Query {
    name: &'static str,
    sql: Cow<'static, str>,
    parameters: Vec<ParameterValue>,
    /// For a write with an idempotency key: the text and the parameters that are sent instead, and that execute the write.
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

/// Connections and plans.
impl Db {
    async fn primary_checkout(&self, name: &'static str) -> Result<Checkout<Connection>, DbError> {
        let limit = self.config().db_connect_timeout;
        self.checkout(&self.database.primary, name, limit).await
    }

    /// Returns how long to wait for the primary's answer. The limit is one second longer than the statement timeout, so that PostgreSQL's own
    /// error comes first.
    fn primary_limit(&self) -> Duration {
        self.config().db_statement_timeout + Duration::from_secs(1)
    }

    /// Returns a connection within the time limit. Records the wait separately from the query time.
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the only place that may open a connection"
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
            // The connection isn't reused, because the statement's answer may still arrive, or the host failed.
            Some(DbError::Timeout { .. } | DbError::Other { .. }) => {}
        }
    }

    /// Returns a slow query for the profile, with a future that fetches its plan later.
    fn slow_query(&self, query: &Query, elapsed_us: u64) -> SlowQuery {
        let db = Self::in_the_background(self.database.clone());
        let name = query.name;
        let parameters = is_small(&query.parameters).then(|| query.parameters.clone());
        let sql = format!("EXPLAIN (FORMAT JSON) {}", query.sql).into();
        SlowQuery {
            name,
            elapsed_us,
            plan: Box::pin(async move {
                let explain = Query {
                    name,
                    sql,
                    parameters: parameters?,
                    inside: None,
                };
                db.plan(&explain).await.ok()
            }),
        }
    }

    /// Returns a statement's plan as JSON without running the statement. `explain` is its EXPLAIN query.
    async fn plan(&self, explain: &Query) -> Result<String, DbError> {
        let name = explain.name;
        let checkout = self.primary_checkout(name).await?;
        let rows = Self::drain(&checkout, explain, self.primary_limit()).await;
        Self::check_in(&self.database.primary, checkout, rows.as_ref().err());
        let rows = rows?;
        // The column has the type json, which the host doesn't support, so the host returns the text as bytes.
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

    /// Makes every write run once under this idempotency key. The statement `once` runs the write. The parameters of `once` are the key, and
    /// the write's name, text and parameters.
    #[must_use]
    pub fn keyed(mut self, key: String, once: &'static Statement) -> Self {
        self.key = Some((key, once));
        self
    }

    /// Lets reads use the cache or the replica if their data is as recent as `reads` requires.
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
}

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

/// Returns the outcome of `work`. If `work` takes longer than `limit`, cancels `work` and returns `None`.
pub async fn within<T>(limit: Duration, work: impl Future<Output = T>) -> Option<T> {
    match select(pin!(work), pin!(spin_sdk::time::sleep(limit))).await {
        Either::Left((outcome, _)) => Some(outcome),
        Either::Right(((), _)) => None,
    }
}
