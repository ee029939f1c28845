//! Reads on a replica: when it may be asked, and when the primary is asked in its stead.
//!
//! A replica may be gone or behind. It's asked about itself once a second by each instance, and each time for a client that
//! has just written: over the very connection that then reads, as several replicas may share an address. How far it is can't
//! be asked in the statement that reads: a statement sees what had been replayed when it began, and would ask later.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use spin_sdk::pg::{Connection, ParameterValue};

use super::pool::Checkout;
use super::{Answer, Db, DbError, Server, Statement};
use crate::profile::{self, Level};

/// For so long what a replica said of itself holds, and so long it's left alone after it failed.
const STANDING_FOR: Duration = Duration::from_secs(1);

/// The longest wait for a connection to it: the primary is there.
const CHECKOUT_LIMIT: Duration = Duration::from_millis(250);

/// How a request's reads may go to the replica.
#[derive(Clone, Copy, Debug)]
pub struct ReplicaReads {
    /// What the client must see.
    pub freshness: Freshness,
    /// The statement that asks a replica how far behind it is, in milliseconds, and up to which position it has replayed.
    pub state: &'static Statement,
}

/// What a client must see: the later ones more than the earlier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Freshness {
    /// What any replica has that isn't too far behind.
    Any,
    /// All up to this position in the write-ahead log, as the client has written there.
    Position(u64),
    /// All there is: it has written, and nobody knows where.
    Latest,
}

/// A replica, and what this instance knows of it.
pub(super) struct Replica {
    server: Server,
    standing: Mutex<Option<(Instant, Result<(), PassedOver>)>>,
}

/// Why a replica isn't asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PassedOver {
    JustWritten,
    Behind,
    Gone,
}

/// A replica's word on itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct State {
    lag_ms: u64,
    position: u64,
}

impl PassedOver {
    /// For `Server-Timing`.
    const fn read_from(self) -> &'static str {
        match self {
            Self::JustWritten => "primary: the replica has not replayed the client's write",
            Self::Behind => "primary: the replica is too far behind",
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

    /// What that means for reads in general, and for this client's.
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
            standing: Mutex::new(None),
        }
    }

    /// What's known of it, while that holds.
    fn standing(&self, now: Instant) -> Option<Result<(), PassedOver>> {
        let known = (*self.known())?;
        let (since, standing) = known;
        (now.duration_since(since) < STANDING_FOR).then_some(standing)
    }

    /// Keeps what was learnt. Whether it stood well before, or nothing was known.
    fn learn(&self, standing: Result<(), PassedOver>) -> bool {
        let known = self.known().replace((Instant::now(), standing));
        known.is_none_or(|(_, before)| before.is_ok())
    }

    fn known(&self) -> MutexGuard<'_, Option<(Instant, Result<(), PassedOver>)>> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Db {
    /// A read's answer from the replica; nothing where the primary is to be asked.
    pub(super) async fn replica_answer(
        &self,
        replica: &Replica,
        reads: ReplicaReads,
        statement: &'static Statement,
        parameters: &[ParameterValue],
    ) -> Option<Answer> {
        let outcome = match (reads.freshness, replica.standing(Instant::now())) {
            (Freshness::Latest, _) => Err(PassedOver::JustWritten),
            (_, Some(Err(passed_over))) => Err(passed_over),
            (_, standing) => {
                let answer = self
                    .replica_read(replica, reads, standing.is_some(), statement, parameters)
                    .await;
                answer.unwrap_or_else(|error| {
                    self.pass_over(replica, statement, &error);
                    Err(PassedOver::Gone)
                })
            }
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
        reads: ReplicaReads,
        stands_well: bool,
        statement: &'static Statement,
        parameters: &[ParameterValue],
    ) -> Result<Result<Answer, PassedOver>, DbError> {
        let limit = CHECKOUT_LIMIT.min(self.config().db_connect_timeout);
        let checkout = self
            .checkout(&replica.server, statement.name, limit)
            .await?;
        let read = async {
            if !stands_well || reads.freshness != Freshness::Any {
                let own = self.ask_for_state(replica, reads, &checkout).await?;
                if let Err(passed_over) = own {
                    return Ok(Err(passed_over));
                }
            }
            let answer = self.measured(&checkout, statement.name, statement.sql, parameters);
            answer.await.map(Ok)
        };
        let outcome = read.await;
        Self::check_in(&replica.server, checkout, outcome.as_ref().err());
        outcome
    }

    async fn ask_for_state(
        &self,
        replica: &Replica,
        reads: ReplicaReads,
        checkout: &Checkout<Connection>,
    ) -> Result<Result<(), PassedOver>, DbError> {
        let Statement { name, sql, .. } = reads.state;
        let answer = self.measured(checkout, name, sql, &[]).await?;
        let state = State::of(&answer).ok_or_else(|| DbError::Decode {
            statement: name,
            found: "no numbers".to_owned(),
        })?;
        let (general, own) = state.verdict(self.config().db_read_max_lag, reads.freshness);
        if replica.learn(general) && general.is_err() {
            let message = format!("REPLICA BEHIND: {} ms: the primary is read", state.lag_ms);
            self.replica_line(&message);
        }
        Ok(own)
    }

    /// Leaves the replica alone for a while, and says so where it stood well before.
    fn pass_over(&self, replica: &Replica, statement: &'static Statement, error: &DbError) {
        if !replica.learn(Err(PassedOver::Gone)) {
            return;
        }
        // What an error advises is about db_url.
        let reason = match error {
            DbError::Unavailable { reason, .. } => reason.clone(),
            other => other.to_string(),
        };
        let message = format!(
            "REPLICA GONE: {}: {reason}: the primary is read; check that PostgreSQL runs at the address in db_read_url, and \
             that db_read_host names it",
            statement.name
        );
        self.replica_line(&message);
    }

    fn replica_line(&self, message: &str) {
        let fields = [("event", "replica_passed_over".into())];
        profile::line(Level::Warning, message, &self.profile, &fields);
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
    fn a_replica_is_read_where_it_is_near_enough_and_has_the_clients_write() {
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
    fn what_is_no_state_is_none() {
        assert!(state("1000", "500").is_some());
        assert!(state("", "500").is_none());
        assert!(state("-1", "500").is_none());
        assert!(State::of(&Answer::default()).is_none());
    }

    #[test]
    fn what_was_learnt_holds_for_a_while_and_is_told_once() {
        let replica = Replica::new(Server::at("postgres://replica/reznet"));
        let now = Instant::now();
        assert_eq!(replica.standing(now), None);
        let gone = Err(PassedOver::Gone);
        assert!(replica.learn(gone));
        assert!(!replica.learn(gone));
        assert_eq!(replica.standing(now), Some(gone));
        assert_eq!(replica.standing(now + STANDING_FOR * 2), None);
        assert!(!replica.learn(Ok(())));
        assert!(replica.learn(gone));
    }
}
