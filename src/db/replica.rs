//! Reads from a replica, and decides when the primary is read instead.
//!
//! A replica may be down or lag. Once a second, one request of each instance asks the replica for its status. Until the answer arrives, other
//! requests use the primary. If a client has just written, each of its reads first asks for the replica's position on the same connection. This takes
//! a separate statement, because a read's snapshot may be older than a position that the read itself returns.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use spin_sdk::pg::{Connection, ParameterValue};

use super::pool::Checkout;
use super::{Answer, Db, DbError, Query, Server, Statement};
use crate::breaker::Breaker;
use crate::profile::{self, Level};

/// How long a replica's reported status stays valid, and how long the replica isn't used after it was found to be down.
const STANDING_FOR: Duration = Duration::from_secs(1);

/// The longest wait for a connection and for the replica's status. The limit is short, because the primary can answer instead.
const ASKING_LIMIT: Duration = Duration::from_millis(250);

/// The longest wait for a read. Each read occupies one of the host's connections, which writes need too.
const READ_LIMIT: Duration = Duration::from_secs(1);

/// The conditions under which a request's reads may use the cache or the replica.
#[derive(Clone, Copy, Debug)]
pub struct Reads {
    /// How recent the client's data must be.
    pub freshness: Freshness,
    /// The statement that asks a replica for its lag in milliseconds and for its replayed position.
    pub replica_state: &'static Statement,
}

/// How recent a client's data must be. Later variants require more recent data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Freshness {
    /// Data from the cache, or from a replica that doesn't lag too far.
    Any,
    /// All data up to this WAL position, which is at or after the client's write.
    Position(u64),
    /// The latest data, because the client has written and the position of the write is unknown.
    Latest,
}

/// A replica, and its status as this instance knows it.
pub(super) struct Replica {
    server: Server,
    standing: Mutex<Standing>,
}

#[derive(Debug)]
struct Standing {
    /// The time of the verdict. `None` means that the replica has not been asked yet.
    since: Option<Instant>,
    verdict: Result<(), PassedOver>,
    breaker: Breaker,
}

/// The reason why a replica isn't read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PassedOver {
    JustWritten,
    Asked,
    Behind,
    Failed,
    Gone,
}

/// The status that a replica reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct State {
    lag_ms: u64,
    position: u64,
}

impl PassedOver {
    /// Returns the text for `Server-Timing`.
    const fn read_from(self) -> &'static str {
        match self {
            Self::JustWritten => "primary: the replica has not replayed the client's write",
            Self::Asked => "primary: the replica is being asked how far it is",
            Self::Behind => "primary: the replica is too far behind",
            Self::Failed => "primary: the replica failed",
            Self::Gone => "primary: the replica is gone",
        }
    }
}

impl State {
    fn of(answer: &Answer) -> Option<Self> {
        Some(Self {
            lag_ms: answer.json.as_deref()?.parse().ok()?,
            position: answer.note.as_deref()?.parse().ok()?,
        })
    }

    /// Returns the verdict for reads in general, and the verdict for the reads of a client that requires this freshness.
    fn verdict(
        self,
        most_lag: Duration,
        freshness: Freshness,
    ) -> (Result<(), PassedOver>, Result<(), PassedOver>) {
        let general = if u128::from(self.lag_ms) > most_lag.as_millis() {
            Err(PassedOver::Behind)
        } else {
            Ok(())
        };
        let own = match freshness {
            Freshness::Position(position) if position > self.position => {
                Err(PassedOver::JustWritten)
            }
            _ => general,
        };
        (general, own)
    }
}

impl Replica {
    pub(super) fn new(server: Server) -> Self {
        Self {
            server,
            standing: Mutex::new(Standing {
                since: None,
                verdict: Ok(()),
                breaker: Breaker::default(),
            }),
        }
    }

    /// Returns the verdict while it is valid. `None` means that the caller must ask the replica, while other requests use the primary.
    fn verdict(&self, now: Instant) -> Option<Result<(), PassedOver>> {
        let mut standing = self.standing();
        let holds = |since: Instant| now.saturating_duration_since(since) < STANDING_FOR;
        if standing.since.is_some_and(holds) {
            return Some(standing.verdict);
        }
        standing.since = Some(now);
        standing.verdict = Err(PassedOver::Asked);
        None
    }

    /// Stores a verdict. Returns true for the first of successive bad verdicts, which the caller logs.
    fn learn(&self, verdict: Result<(), PassedOver>) -> bool {
        let mut standing = self.standing();
        standing.since = Some(Instant::now());
        standing.verdict = verdict;
        match verdict {
            Ok(()) => {
                standing.breaker.succeeded();
                false
            }
            Err(_) => standing.breaker.failed(Instant::now(), Duration::ZERO),
        }
    }

    fn standing(&self) -> MutexGuard<'_, Standing> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Db {
    /// Returns a read's answer from the replica, or `None` if the primary must be read.
    pub(super) async fn replica_answer(
        &self,
        replica: &Replica,
        reads: Reads,
        statement: &'static Statement,
        parameters: &[ParameterValue],
    ) -> Option<Answer> {
        let outcome = match reads.freshness {
            Freshness::Latest => Err(PassedOver::JustWritten),
            Freshness::Any | Freshness::Position(_) => match replica.verdict(Instant::now()) {
                Some(Err(passed_over)) => Err(passed_over),
                verdict => {
                    let asks = verdict.is_none() || reads.freshness != Freshness::Any;
                    self.replica_read(replica, reads, asks, statement, parameters)
                        .await
                }
            },
        };
        let read_from = outcome
            .as_ref()
            .map_or_else(|passed_over| passed_over.read_from(), |_| "replica");
        self.profile.record_read_from(read_from);
        outcome.ok()
    }

    async fn replica_read(
        &self,
        replica: &Replica,
        reads: Reads,
        asks: bool,
        statement: &'static Statement,
        parameters: &[ParameterValue],
    ) -> Result<Answer, PassedOver> {
        let name = statement.name;
        let checkout = self.checkout(&replica.server, name, ASKING_LIMIT).await;
        let checkout = checkout.map_err(|error| self.gone(replica, &error))?;
        if asks {
            // If the replica can't be used, an early return drops this connection, so that the host can open one to the primary instead.
            let asked = self.ask_for_state(&checkout, reads).await;
            let state = asked.map_err(|error| self.gone(replica, &error))?;
            let (general, own) = state.verdict(self.config().db_read_max_lag, reads.freshness);
            if replica.learn(general) {
                let message = format!("REPLICA BEHIND: {} ms: the primary is read", state.lag_ms);
                self.replica_line(&message);
            }
            own?;
        }
        let query = Query::of(statement, parameters.to_vec());
        let outcome = self.with_timing(&checkout, &query, READ_LIMIT).await;
        Self::check_in(&replica.server, checkout, outcome.as_ref().err());
        outcome.map_err(|error| {
            // The read failed, for example because of a conflict with WAL replay. The next read may succeed, so the replica's status stays the same.
            let reason = reason(&error);
            let message = format!("REPLICA FAILED: {name}: {reason}: the primary is read");
            self.replica_line(&message);
            PassedOver::Failed
        })
    }

    async fn ask_for_state(
        &self,
        checkout: &Checkout<Connection>,
        reads: Reads,
    ) -> Result<State, DbError> {
        let statement = reads.replica_state;
        let query = Query::of(statement, Vec::new());
        let answer = self.with_timing(checkout, &query, ASKING_LIMIT).await?;
        State::of(&answer).ok_or_else(|| DbError::Decode {
            statement: statement.name,
            found: "no numbers".to_owned(),
        })
    }

    /// Stops using the replica for a while, and logs the reason if the replica's status was good before.
    fn gone(&self, replica: &Replica, error: &DbError) -> PassedOver {
        replica.server.pool.forget_idle();
        let reason = reason(error);
        // If the host has no free connections, the failure says nothing about the replica, so the replica's status stays the same.
        if reason.starts_with("too many requests wait") {
            return PassedOver::Failed;
        }
        if replica.learn(Err(PassedOver::Gone)) {
            let message = format!(
                "REPLICA GONE: {reason}: the primary is read; check that PostgreSQL runs at the address in db_read_url, and \
                 that db_read_host names it"
            );
            self.replica_line(&message);
        }
        PassedOver::Gone
    }

    fn replica_line(&self, message: &str) {
        let fields = [("event", "replica_passed_over".into())];
        profile::line(Level::Warning, message, &self.profile, &fields);
    }
}

/// Returns the error's text without the advice.
pub(super) fn reason(error: &DbError) -> String {
    match error {
        DbError::Unavailable { reason, .. } => reason.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(lag_ms: &str, position: &str) -> Option<State> {
        State::of(&Answer {
            json: Some(lag_ms.to_owned()),
            note: Some(position.to_owned()),
        })
    }

    #[test]
    fn reads_use_a_replica_within_the_lag_limit_that_has_the_clients_write() {
        let state = state("1000", "500").unwrap();
        let second = Duration::from_secs(1);
        let behind = Err(PassedOver::Behind);
        for (most_lag, freshness, general, own) in [
            (second, Freshness::Any, Ok(()), Ok(())),
            (second, Freshness::Position(500), Ok(()), Ok(())),
            (
                second,
                Freshness::Position(501),
                Ok(()),
                Err(PassedOver::JustWritten),
            ),
            (second / 2, Freshness::Any, behind, behind),
            (second / 2, Freshness::Position(1), behind, behind),
        ] {
            let verdict = state.verdict(most_lag, freshness);
            assert_eq!(verdict, (general, own), "{most_lag:?} {freshness:?}");
        }
    }

    #[test]
    fn an_invalid_replica_state_is_ignored() {
        assert!(state("1000", "500").is_some());
        assert!(state("", "500").is_none());
        assert!(state("-1", "500").is_none());
        assert!(State::of(&Answer::default()).is_none());
    }

    #[test]
    fn one_request_checks_the_replica_and_caches_and_logs_the_result_once() {
        let replica = Replica::new(Server::at(
            &"postgres://u@replica/reznet".parse().unwrap(),
            "db_read_url",
        ));
        let now = Instant::now();
        let later = now + STANDING_FOR * 2;
        assert_eq!(replica.verdict(now), None);
        assert_eq!(replica.verdict(now), Some(Err(PassedOver::Asked)));
        let gone = Err(PassedOver::Gone);
        assert!(replica.learn(gone));
        assert!(!replica.learn(gone));
        assert_eq!(replica.verdict(now), Some(gone));
        assert_eq!(replica.verdict(later), None);
        assert!(!replica.learn(gone), "it's the same time");
        assert!(!replica.learn(Ok(())));
        assert_eq!(replica.verdict(now), Some(Ok(())));
        assert!(replica.learn(gone));
    }
}
