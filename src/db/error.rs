//! What can go wrong between a statement and its result, sorted by what a caller can do about it.
//!
//! Texts here are for the log. None of them may reach a client: they hold SQLSTATEs, hosts and server messages.

use spin_sdk::pg::{DbError as ServerError, Error, PgError, QueryError};

/// Why a statement has no result.
#[derive(Debug, thiserror::Error)]
pub enum DbError {
    /// No connection to be had, or it broke. Another try may succeed.
    #[error("{reason}: {advice}")]
    Unavailable {
        /// Whether the statement may have been carried out all the same.
        sent: bool,
        /// What the host or the server said.
        reason: String,
        /// What the operator can do.
        advice: &'static str,
    },
    /// The statement ran into its time limit.
    #[error("{statement} ran into its time limit ({reason})")]
    Timeout {
        /// The statement's name.
        statement: &'static str,
        /// Which limit.
        reason: String,
    },
    /// The server refused the statement with an SQLSTATE: a constraint, a missing table, a bug of ours.
    #[error("{statement} failed with SQLSTATE {sqlstate}: {message}")]
    Refused {
        /// The statement's name.
        statement: &'static str,
        /// Five characters: <https://www.postgresql.org/docs/current/errcodes-appendix.html>.
        sqlstate: String,
        /// The constraint it broke, if it's that.
        constraint: Option<String>,
        /// The server's message.
        message: String,
    },
    /// The result isn't what the statement promises: a bug of ours.
    #[error("{statement} returned {found} where a text and a note were expected")]
    Decode {
        /// The statement's name.
        statement: &'static str,
        /// What came instead.
        found: String,
    },
    /// Something else went wrong between host and server: a parameter of the wrong type, for one. A bug of ours.
    #[error("{statement} failed: {reason}")]
    Other {
        /// The statement's name.
        statement: &'static str,
        /// What the host said.
        reason: String,
    },
}

impl DbError {
    /// The constraint that the statement would have broken, if it's that.
    #[must_use]
    pub fn constraint(&self) -> Option<&str> {
        match self {
            Self::Refused { constraint, .. } => constraint.as_deref(),
            _ => None,
        }
    }

    /// Whether the statement refers to a row that isn't there (SQLSTATE 23503, `foreign_key_violation`).
    #[must_use]
    pub fn is_dangling(&self) -> bool {
        matches!(self, Self::Refused { sqlstate, .. } if sqlstate == "23503")
    }

    /// Whether the statement needs a schema, table, column or function that isn't there (SQLSTATE 3F000, 42P01, 42703, 42883).
    #[must_use]
    pub fn lacks_migration(&self) -> bool {
        let absent = ["3F000", "42P01", "42703", "42883"];
        matches!(self, Self::Refused { sqlstate, .. } if absent.contains(&sqlstate.as_str()))
    }

    /// Sorts what opening a connection or running `statement` failed with.
    pub(super) fn from_host(statement: &'static str, error: Error) -> Self {
        let error = match error {
            Error::PgError(error) => error,
            Error::Decode(reason) => return Self::Other { statement, reason },
        };
        match error {
            PgError::ConnectionFailed(reason) => Self::unavailable(false, reason),
            PgError::QueryFailed(QueryError::DbError(error)) => Self::from_server(statement, error),
            PgError::QueryFailed(QueryError::Text(reason)) if is_broken_connection(&reason) => {
                Self::unavailable(true, reason)
            }
            // Spin's word for a manifest's allowed_outbound_hosts that it can't read. It doesn't mend itself.
            PgError::Other(reason) if reason.contains("Invalid allowed host") => {
                let reason = [&reason, ": ", INVALID_HOST_ADVICE].concat();
                Self::Other { statement, reason }
            }
            PgError::QueryFailed(QueryError::Text(reason))
            | PgError::BadParameter(reason)
            | PgError::ValueConversionFailed(reason)
            | PgError::Other(reason) => Self::Other { statement, reason },
        }
    }

    /// No connection within the time limit.
    pub(super) fn no_connection_within(limit_ms: u128) -> Self {
        Self::unavailable(false, format!("no connection within {limit_ms} ms"))
    }

    fn unavailable(sent: bool, reason: String) -> Self {
        // With RUST_BACKTRACE set, Spin adds its own stack: of no use here, and a page long.
        let reason = match reason.split_once("Stack backtrace:") {
            Some((reason, _)) => reason.trim_end().to_owned(),
            None => reason,
        };
        let advice = advice(&reason);
        Self::Unavailable {
            sent,
            reason,
            advice,
        }
    }

    fn from_server(statement: &'static str, error: ServerError) -> Self {
        match error.code.as_str() {
            // query_canceled: statement_timeout, as nobody else cancels our statements.
            "57014" => Self::Timeout {
                statement,
                reason: error.message,
            },
            // cannot_connect_now, too_many_connections, read_only_sql_transaction (a failover's old primary),
            // deadlock_detected, serialization_failure: nothing was done.
            "57P03" | "53300" | "25006" | "40P01" | "40001" => {
                Self::unavailable(false, error.message)
            }
            // admin_shutdown, crash_shutdown, and class 08, connection exceptions: at any moment, the last one too.
            code if code == "57P01" || code == "57P02" || code.starts_with("08") => {
                Self::unavailable(true, error.message)
            }
            _ => Self::Refused {
                statement,
                constraint: error
                    .extras
                    .into_iter()
                    .find_map(|(key, value)| (key == "constraint").then_some(value)),
                sqlstate: error.code,
                message: error.message,
            },
        }
    }
}

const INVALID_HOST_ADVICE: &str = "set db_host to the host:port that db_url names, and leave db_read_host out where there's no replica";

/// The host passes on what tokio-postgres says, as its Debug text; these are its kinds for a connection that's gone.
fn is_broken_connection(reason: &str) -> bool {
    ["kind: Closed", "kind: Io", "connection closed"]
        .iter()
        .any(|kind| reason.contains(kind))
}

/// What to do about a connection that can't be had. The host's text is all there is to go by.
fn advice(reason: &str) -> &'static str {
    let says = |text: &str| reason.contains(text);
    if says("is not permitted") {
        "set db_host to the host:port that db_url names"
    } else if says("too many") || says("no connection within") {
        "allow PostgreSQL more connections, or this host fewer ([outbound_pg] max_connections)"
    } else if says("read-only transaction") {
        "after a failover nothing, once db_url leads to the new primary; else end what makes the server read-only"
    } else if says("password authentication failed") || says("role \"") || says("InvalidPassword") {
        "check the user and the password in db_url"
    } else if says("database \"") {
        "create the database, or check its name in db_url"
    } else if says("certificate") || says("TLS") {
        "let the host trust the server's certificate, or add sslmode=disable to db_url if the network is trusted"
    } else {
        "check that PostgreSQL runs at the address in db_url"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server_error(code: &str, extras: &[(&str, &str)]) -> Error {
        Error::PgError(PgError::QueryFailed(QueryError::DbError(ServerError {
            as_text: String::new(),
            severity: "ERROR".to_owned(),
            code: code.to_owned(),
            message: "message".to_owned(),
            detail: None,
            extras: extras
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                .collect(),
        })))
    }

    #[test]
    fn sqlstates_are_sorted_by_what_a_caller_can_do() {
        for code in [
            "57P01", "57P02", "57P03", "53300", "25006", "40P01", "08006",
        ] {
            let error = DbError::from_host("s", server_error(code, &[]));
            assert!(
                matches!(error, DbError::Unavailable { .. }),
                "{code}: {error}"
            );
        }
        let error = DbError::from_host("s", server_error("57014", &[]));
        assert!(matches!(error, DbError::Timeout { .. }), "{error}");
        let error = DbError::from_host("s", server_error("42P01", &[]));
        assert!(matches!(error, DbError::Refused { .. }), "{error}");
    }

    #[test]
    fn a_broken_constraint_is_named() {
        let error = server_error(
            "23505",
            &[("table", "agents"), ("constraint", "idx_agents_name")],
        );
        let DbError::Refused { constraint, .. } = DbError::from_host("s", error) else {
            panic!("not refused");
        };
        assert_eq!(constraint.as_deref(), Some("idx_agents_name"));
    }

    #[test]
    fn a_connection_that_broke_is_unavailable_and_a_bug_is_not() {
        let text = |reason: &str| {
            DbError::from_host(
                "s",
                Error::PgError(PgError::QueryFailed(QueryError::Text(reason.to_owned()))),
            )
        };
        let closed = text("Error { kind: Closed, cause: None }");
        assert!(matches!(closed, DbError::Unavailable { .. }), "{closed}");
        let bug = text("Error { kind: ToSql(0), cause: Some(WrongType) }");
        assert!(matches!(bug, DbError::Other { .. }), "{bug}");
    }

    #[test]
    fn a_stack_of_the_hosts_is_left_out() {
        let reason = "Connection refused\n\nStack backtrace:\n   0: main".to_owned();
        let DbError::Unavailable { reason, .. } = DbError::unavailable(false, reason) else {
            panic!("not unavailable");
        };
        assert_eq!(reason, "Connection refused");
    }

    #[test]
    fn a_host_that_makes_no_sense_is_named_with_its_variables() {
        let error = PgError::Other("Invalid allowed host \"\"".to_owned());
        let error = DbError::from_host("s", Error::PgError(error)).to_string();
        assert!(error.contains("leave db_read_host out"), "{error}");
    }

    #[test]
    fn advice_fits_what_the_host_said() {
        for (reason, word) in [
            ("address postgres://db:5432 is not permitted", "db_host"),
            ("password authentication failed for user \"u\"", "password"),
            ("database \"d\" does not exist", "create the database"),
            (
                "cannot execute INSERT in a read-only transaction",
                "after a failover",
            ),
            ("error connecting to server: Connection refused", "runs at"),
            ("no connection within 2000 ms", "more connections"),
            ("too many connections for role \"u\"", "more connections"),
            (
                "error performing TLS handshake: invalid peer certificate",
                "sslmode=disable",
            ),
        ] {
            let error = DbError::unavailable(false, reason.to_owned()).to_string();
            assert!(error.contains(word), "{error}");
        }
    }
}
