//! The errors of statements, grouped by how a caller can react to them.
//!
//! The texts are for the log. These texts must not reach a client, because they contain SQLSTATEs, hosts and server messages. No text contains
//! a password, because the host gets the address as one validated text and repeats only the server's name and port.

use std::borrow::Cow;

use spin_sdk::pg::{DbError as ServerError, Error, PgError, QueryError};

use super::sqlstate::{self, Failure, Meaning, Repeat};
use crate::config::address::Address;

/// The reason why a statement has no result.
#[derive(Debug, thiserror::Error)]
pub enum DbError {
    /// There is no connection, the connection broke, or the server can't run the statement now. Another attempt may succeed.
    #[error("{reason}: {advice}")]
    Unavailable {
        /// Whether the statement may have been executed although it failed.
        sent: bool,
        /// Whether the statement is sent once more.
        repeat: Repeat,
        /// Whether the session can be used for the next statement.
        keeps_session: bool,
        /// The server's SQLSTATE; `None` if the connection couldn't be opened, or if it broke.
        sqlstate: Option<String>,
        /// The message of the host or the server.
        reason: String,
        /// Advice for the operator.
        advice: Cow<'static, str>,
    },
    /// The statement exceeded its time limit.
    #[error("{statement} ran into its time limit ({reason})")]
    Timeout {
        /// The statement's name.
        statement: &'static str,
        /// The limit that was exceeded.
        reason: String,
    },
    /// The server refused the statement with an SQLSTATE, for example because of a constraint, a missing table or a bug in the component.
    #[error("{statement} failed with SQLSTATE {sqlstate}: {message}: {advice}")]
    Refused {
        /// The statement's name.
        statement: &'static str,
        /// Five characters: <https://www.postgresql.org/docs/current/errcodes-appendix.html>.
        sqlstate: String,
        /// The violated constraint, if any.
        constraint: Option<String>,
        /// The server's message, and the function that the message came from.
        message: String,
        /// How the request is answered.
        failure: Failure,
        /// Advice for the operator.
        advice: &'static str,
    },
    /// The result doesn't have the form of a statement's answer, which means a bug in the component.
    #[error("{statement} returned {found} where a text and a note were expected")]
    Decode {
        /// The statement's name.
        statement: &'static str,
        /// A description of the result.
        found: String,
    },
    /// Another failure between host and server, usually because of a bug in the component, such as a parameter of the wrong type.
    #[error("{statement} failed: {reason}")]
    Other {
        /// The statement's name.
        statement: &'static str,
        /// The host's message.
        reason: String,
    },
}

/// The maximum number of characters of a text from the host or the server. Longer texts are truncated, so that the log line keeps the advice.
const MOST_REASON_CHARS: usize = 300;

impl DbError {
    /// Returns the constraint that the statement would have violated, if any.
    #[must_use]
    pub fn constraint(&self) -> Option<&str> {
        match self {
            Self::Refused { constraint, .. } => constraint.as_deref(),
            _ => None,
        }
    }

    /// Whether the statement refers to a row that doesn't exist (SQLSTATE 23503, `foreign_key_violation`).
    #[must_use]
    pub fn is_dangling(&self) -> bool {
        matches!(self, Self::Refused { sqlstate, .. } if sqlstate == "23503")
    }

    /// Returns the server's SQLSTATE if the server refused the statement.
    #[must_use]
    pub fn sqlstate(&self) -> Option<&str> {
        match self {
            Self::Unavailable { sqlstate, .. } => sqlstate.as_deref(),
            Self::Refused { sqlstate, .. } => Some(sqlstate),
            Self::Timeout { .. } | Self::Decode { .. } | Self::Other { .. } => None,
        }
    }

    /// Whether the server is unreachable. A server that refused the statement is reachable.
    #[must_use]
    pub fn is_unreachable(&self) -> bool {
        matches!(self, Self::Unavailable { sqlstate: None, .. })
    }

    /// Returns how the failure is answered and logged.
    #[must_use]
    pub fn failure(&self) -> Failure {
        match self {
            Self::Unavailable { .. } => Failure::Unavailable,
            Self::Timeout { .. } => Failure::TimedOut,
            Self::Refused { failure, .. } => *failure,
            Self::Decode { .. } | Self::Other { .. } => Failure::Failed,
        }
    }

    /// Whether to send the statement once more. `is_harmless` means that the statement may be executed twice without harm.
    pub(super) fn repeats(&self, is_harmless: bool) -> bool {
        match self {
            Self::Unavailable { repeat, .. } => match repeat {
                Repeat::Never => false,
                Repeat::Always => true,
                Repeat::IfHarmless => is_harmless,
            },
            _ => false,
        }
    }

    /// Classifies a failure to connect to `address`, which the variable `name` contains.
    pub(super) fn from_open(
        statement: &'static str,
        address: &Address,
        name: &'static str,
        error: Error,
    ) -> Self {
        match error {
            Error::PgError(PgError::ConnectionFailed(reason)) => {
                let reason = cut(&reason);
                let advice = connection_advice(reason, address, name);
                // The reason names the address, unless the cause is that the host has no free connection.
                let reason = if advice == TOO_FEW_CONNECTIONS {
                    reason.to_owned()
                } else {
                    format!("no connection to {address}: {reason}")
                };
                Self::unavailable(Repeat::Never, reason, advice)
            }
            // If Spin can't parse allowed_outbound_hosts, its message repeats the value, which may by mistake be an address with a password.
            Error::PgError(PgError::Other(reason))
                if reason.contains("allowed") || reason.contains("://") =>
            {
                let host = host_variable(name);
                let reason = format!(
                    "the host can't read its list of allowed hosts: set {host} to the host:port that {name} names, and don't set \
                     db_read_host if there is no replica"
                );
                Self::Other { statement, reason }
            }
            error => Self::from_host(statement, &[], error),
        }
    }

    /// Classifies a failure of `statement`. `texts` are the SQL that was sent and, for a write with an idempotency key, the SQL of the write.
    pub(super) fn from_host(statement: &'static str, texts: &[&str], error: Error) -> Self {
        let error = match error {
            Error::PgError(error) => error,
            Error::Decode(reason) => return Self::Other { statement, reason },
        };
        match error {
            PgError::QueryFailed(QueryError::DbError(error)) => {
                Self::from_server(statement, texts, error)
            }
            PgError::ConnectionFailed(reason) => Self::unavailable(
                Repeat::Never,
                cut(&reason).to_owned(),
                Cow::Borrowed(BROKEN_CONNECTION),
            ),
            PgError::QueryFailed(QueryError::Text(reason)) if is_broken_connection(&reason) => {
                let reason = cut(&reason).to_owned();
                Self::unavailable(Repeat::IfHarmless, reason, Cow::Borrowed(BROKEN_CONNECTION))
            }
            PgError::QueryFailed(QueryError::Text(reason))
            | PgError::BadParameter(reason)
            | PgError::ValueConversionFailed(reason)
            | PgError::Other(reason) => Self::Other { statement, reason },
        }
    }

    /// Returns the error for a request that got no connection within the time limit.
    pub(super) fn no_connection_within(limit_ms: u128) -> Self {
        Self::unavailable(
            Repeat::Never,
            format!("no connection within {limit_ms} ms"),
            Cow::Borrowed(TOO_FEW_CONNECTIONS),
        )
    }

    fn unavailable(repeat: Repeat, reason: String, advice: Cow<'static, str>) -> Self {
        Self::Unavailable {
            sent: repeat == Repeat::IfHarmless,
            repeat,
            keeps_session: false,
            sqlstate: None,
            reason,
            advice,
        }
    }

    fn from_server(statement: &'static str, texts: &[&str], error: ServerError) -> Self {
        let Meaning {
            failure,
            repeat,
            keeps_session,
            advice,
            ..
        } = *sqlstate::meaning(&error.code);
        let (failure, advice) = match failure {
            Failure::NotMigrated if !sqlstate::is_ours(&error, texts) => {
                (Failure::Failed, FOREIGN_OBJECT)
            }
            other => (other, advice),
        };
        let message = match sqlstate::extra(&error, "where_") {
            Some(context) => format!("{} ({})", cut(&error.message), cut(context)),
            None => cut(&error.message).to_owned(),
        };
        match failure {
            Failure::Unavailable => Self::Unavailable {
                sent: repeat == Repeat::IfHarmless,
                repeat,
                keeps_session,
                reason: format!("{statement} failed with SQLSTATE {}: {message}", error.code),
                sqlstate: Some(error.code),
                advice: Cow::Borrowed(advice),
            },
            Failure::TimedOut => Self::Timeout {
                statement,
                reason: message,
            },
            Failure::NotMigrated | Failure::NotPermitted | Failure::Failed => Self::Refused {
                statement,
                constraint: sqlstate::extra(&error, "constraint").map(str::to_owned),
                sqlstate: error.code,
                message,
                failure,
                advice,
            },
        }
    }
}

/// Advice on a missing object that the migrations don't create.
pub(super) const FOREIGN_OBJECT: &str = "the object isn't one of the API's: a trigger or function of your own names it, or PostgreSQL is older than 14";

const TOO_FEW_CONNECTIONS: &str =
    "allow PostgreSQL more connections, or this host fewer ([outbound_pg] max_connections)";

const BROKEN_CONNECTION: &str = "the connection broke: check that PostgreSQL runs at the address in db_url, its log, and the network";

/// Truncates a text of the host or the server, and removes the host's stack trace.
fn cut(text: &str) -> &str {
    // With RUST_BACKTRACE set, Spin appends its own stack trace, which doesn't help the operator.
    let text = text
        .split_once("Stack backtrace:")
        .map_or(text, |(reason, _)| reason)
        .trim();
    let end = text.char_indices().nth(MOST_REASON_CHARS);
    end.and_then(|(end, _)| text.get(..end)).unwrap_or(text)
}

/// Whether the connection broke. The host passes on tokio-postgres's error as Debug text, which contains the kind of error.
fn is_broken_connection(reason: &str) -> bool {
    ["kind: Closed", "kind: Io", "connection closed"]
        .iter()
        .any(|kind| reason.contains(kind))
}

/// Returns the variable with the host and port of the address in the variable `name`.
fn host_variable(name: &str) -> String {
    name.replace("url", "host")
}

/// Returns advice on a failed connection. The error has no SQLSTATE, and the server's message may be in any language, so the advice lists all causes.
/// If the message contains known words, the most likely cause comes first.
fn connection_advice(reason: &str, address: &Address, name: &'static str) -> Cow<'static, str> {
    // Spin itself refuses an address that allowed_outbound_hosts doesn't permit.
    if reason.starts_with("address postgres://") && reason.ends_with(" is not permitted") {
        let host = host_variable(name);
        return if address.has_several_hosts() {
            format!("{name} names several hosts: add each to allowed_outbound_hosts in spin.toml")
        } else {
            format!(
                "set {host} to the host:port that {name} names ({})",
                address.host_port()
            )
        }
        .into();
    }
    if reason.starts_with("too many requests wait") || reason == "too many connections" {
        return TOO_FEW_CONNECTIONS.into();
    }
    let says = |text: &str| reason.contains(text);
    let likely =
        if says("password authentication failed") || says("role \"") && says("does not exist") {
            "check the user and the password"
        } else if says("too many") || says("connection slots") {
            TOO_FEW_CONNECTIONS
        } else if says("no pg_hba.conf entry") {
            "let pg_hba.conf permit this connection"
        } else if says("database \"") && says("does not exist") {
            "create the database, or check its name"
        } else if says("certificate") {
            "set db_ca to the certificate of the server's authority, or let the machine trust it"
        } else {
            ""
        };
    let separator = if likely.is_empty() { "" } else { "; else " };
    format!(
        "{likely}{separator}check that PostgreSQL runs at the address in {name}; that user, password and database are right; that the \
         user may log in (LOGIN) and connect (CONNECT, pg_hba.conf); that sslmode and db_ca fit the server's TLS"
    )
    .into()
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

    fn address() -> Address {
        "postgres://u:hunter2@h:1/d".parse().unwrap()
    }

    fn opening(reason: &str) -> String {
        let error = PgError::ConnectionFailed(reason.to_owned());
        DbError::from_open("s", &address(), "db_url", Error::PgError(error)).to_string()
    }

    #[test]
    fn every_sqlstate_in_the_table_gets_its_failure_and_advice() {
        for meaning in sqlstate::MEANINGS {
            let code = format!("{:0<5}", meaning.sqlstate);
            let error = DbError::from_host("s", &[""], server_error(&code, &[]));
            assert_eq!(error.failure(), sqlstate::meaning(&code).failure, "{code}");
            let text = error.to_string();
            if error.failure() == Failure::TimedOut {
                continue;
            }
            assert_eq!(error.sqlstate(), Some(code.as_str()));
            let expected = sqlstate::meaning(&code).advice;
            assert!(text.contains(&code) && text.ends_with(expected), "{text}");
        }
    }

    #[test]
    fn only_harmless_statements_are_retried_after_an_uncertain_outcome() {
        let repeats = |code: &str, harmless| {
            DbError::from_host("s", &[""], server_error(code, &[])).repeats(harmless)
        };
        for (code, harmless, other) in [
            ("57P01", true, false),
            ("08006", true, false),
            ("40003", true, false),
            ("40P01", true, true),
            ("57P05", true, true),
            ("55P03", false, false),
            ("53100", false, false),
            ("57014", false, false),
            ("23505", false, false),
        ] {
            assert_eq!(repeats(code, true), harmless, "{code}");
            assert_eq!(repeats(code, false), other, "{code}");
        }
    }

    #[test]
    fn a_violated_constraint_is_named() {
        let error = server_error(
            "23505",
            &[("table", "agents"), ("constraint", "idx_agents_name")],
        );
        let DbError::Refused { constraint, .. } = DbError::from_host("s", &[], error) else {
            panic!("not refused");
        };
        assert_eq!(constraint.as_deref(), Some("idx_agents_name"));
    }

    #[test]
    fn a_missing_object_error_shows_the_trigger_function() {
        let context = "PL/pgSQL function audit() line 3 at SQL statement";
        let error = server_error("42P01", &[("where_", context)]);
        let error = DbError::from_host("s", &["INSERT"], error);
        assert_eq!(error.failure(), Failure::Failed);
        assert_eq!(
            error.to_string(),
            format!(
                "s failed with SQLSTATE 42P01: message (PL/pgSQL function audit() line 3 at SQL statement): {FOREIGN_OBJECT}"
            )
        );
    }

    #[test]
    fn a_closed_connection_is_retryable_and_a_type_error_is_not() {
        let text = |reason: &str| {
            let error = PgError::QueryFailed(QueryError::Text(reason.to_owned()));
            DbError::from_host("s", &[], Error::PgError(error))
        };
        let closed = text("Error { kind: Closed, cause: None }");
        assert!(closed.repeats(true) && !closed.repeats(false), "{closed}");
        let bug = text("Error { kind: ToSql(0), cause: Some(WrongType) }");
        assert!(matches!(bug, DbError::Other { .. }), "{bug}");
    }

    #[test]
    fn stack_backtraces_are_removed_and_long_error_texts_truncated() {
        assert_eq!(
            cut("Connection refused\n\nStack backtrace:\n   0: main"),
            "Connection refused"
        );
        assert_eq!(cut(&"ä".repeat(1000)), "ä".repeat(MOST_REASON_CHARS));
    }

    #[test]
    fn an_invalid_allowed_hosts_entry_is_not_shown_in_the_error() {
        for reason in [
            "Invalid allowed host \"u:hunter2\"",
            "Invalid allowed host port \"hunter2\"",
            "\"postgres://postgres://u:hunter2@h/d\" has a path but is not allowed to",
        ] {
            let error = Error::PgError(PgError::Other(reason.to_owned()));
            let error = DbError::from_open("s", &address(), "db_url", error).to_string();
            assert!(error.contains("set db_host to the host:port"), "{error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn a_connection_error_shows_the_servers_text_and_possible_causes() {
        for (reason, likely) in [
            (
                "db error: FATAL: no pg_hba.conf entry for host \"10.0.0.5\", user \"u\", database \"d\", no encryption",
                "let pg_hba.conf permit this connection; else ",
            ),
            (
                "FATAL: password authentication failed for user \"u\"",
                "check the user and the password; else ",
            ),
            (
                "FATAL: database \"d\" does not exist",
                "create the database, or check its name; else ",
            ),
            (
                "FATAL: sorry, too many clients already",
                "allow PostgreSQL more connections",
            ),
            ("invalid peer certificate: UnknownIssuer", "set db_ca"),
            (
                "FATAL: role \"u\" is not permitted to log in",
                ": check that",
            ),
            (
                "FATAL: permission denied for database \"d\"",
                ": check that",
            ),
            (
                "FATAL: Passwort-Authentifizierung für Benutzer »u« fehlgeschlagen",
                ": check that",
            ),
            ("FATAL: Rolle »u« existiert nicht", ": check that"),
            (
                "error connecting to server: Connection refused",
                ": check that",
            ),
        ] {
            let error = opening(reason);
            let begin = format!("no connection to h:1, database d, user u: {reason}: ");
            assert!(error.starts_with(&begin), "{error}");
            assert!(error.contains(likely), "{error}");
            for cause in [
                "runs at the address in db_url",
                "password",
                "LOGIN",
                "CONNECT",
                "pg_hba.conf",
                "sslmode",
            ] {
                assert!(error.contains(cause), "{cause}: {error}");
            }
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn the_error_for_a_forbidden_address_names_its_variable() {
        let reason = "address postgres://h:1 is not permitted";
        assert!(opening(reason).ends_with("set db_host to the host:port that db_url names (h:1)"));
        let several: Address = "postgres://u@h:1,i:2/d".parse().unwrap();
        let error = Error::PgError(PgError::ConnectionFailed(reason.to_owned()));
        let error = DbError::from_open("s", &several, "db_read_url", error).to_string();
        assert!(error.ends_with(
            "db_read_url names several hosts: add each to allowed_outbound_hosts in spin.toml"
        ));
    }

    #[test]
    fn a_host_connection_shortage_is_distinguished_from_a_server_one() {
        let waits = "too many requests wait for a connection: 470 of them, the first for 1002 ms";
        assert_eq!(opening(waits), format!("{waits}: {TOO_FEW_CONNECTIONS}"));
        let error = DbError::no_connection_within(2000).to_string();
        assert_eq!(
            error,
            format!("no connection within 2000 ms: {TOO_FEW_CONNECTIONS}")
        );
    }
}
