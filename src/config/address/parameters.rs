//! The parameters of an address: which parameters of libpq are supported, and advice on those of other libraries.

/// A parameter of libpq, and whether and how it is supported.
pub(super) struct Parameter {
    pub(super) name: &'static str,
    /// The driver's name for the parameter.
    pub(super) driver: &'static str,
    pub(super) support: Support,
    /// The supported values, for the message about any other value.
    pub(super) allowed: &'static str,
}

#[derive(Clone, Copy)]
pub(super) enum Support {
    /// The server's command-line options.
    Options,
    /// One of these values, each with the driver's value, or with `None` if the driver has the same default.
    Values(&'static [(&'static str, Option<&'static str>)]),
    /// A whole number in libpq's unit.
    Number {
        /// The number of libpq's units in one unit of the driver.
        divisor: u32,
    },
    /// The parameter has no effect for a component.
    Ignored,
    /// Hosts don't support the parameter. The text is the reason and the advice.
    Refused(&'static str),
}

const fn values(
    name: &'static str,
    allowed: &'static str,
    values: &'static [(&'static str, Option<&'static str>)],
) -> Parameter {
    Parameter {
        name,
        driver: name,
        support: Support::Values(values),
        allowed,
    }
}

const fn number(name: &'static str, driver: &'static str, divisor: u32) -> Parameter {
    Parameter {
        name,
        driver,
        support: Support::Number { divisor },
        allowed: "a whole number",
    }
}

const fn refused(name: &'static str, reason: &'static str) -> Parameter {
    Parameter {
        name,
        driver: name,
        support: Support::Refused(reason),
        allowed: "",
    }
}

const fn other(name: &'static str, support: Support) -> Parameter {
    Parameter {
        name,
        driver: name,
        support,
        allowed: "",
    }
}

/// The parameters that name the server, the database and the user; `Address::from_settings` reads them by name.
pub(super) const SERVER_PARAMETERS: &[&str] =
    &["host", "hostaddr", "port", "dbname", "user", "password"];

const NO_FILES: &str = "which names a file, but a component reads none: remove it, and write the password into the address";
const NO_CLIENT_CERTIFICATE: &str =
    "but hosts send no client certificate: remove it, and let the user log in with a password";
const NO_KERBEROS: &str = "but hosts don't know GSSAPI: remove it";
const NO_TLS_SETTINGS: &str = "but hosts choose how TLS is done: remove it";
const NO_LISTS: &str = "but hosts use a machine's certificates and none of revoked ones: remove it";
const NO_OAUTH: &str = "but hosts don't know OAuth: remove it";

/// The parameters of libpq in PostgreSQL 18 besides [`SERVER_PARAMETERS`], in alphabetical order. docs/operations.md has the
/// same table, and a test compares the two.
pub(super) const PARAMETERS: &[Parameter] = &[
    other("application_name", Support::Ignored),
    values(
        "channel_binding",
        "disable, prefer or require",
        &[
            ("disable", Some("disable")),
            ("prefer", None),
            ("require", Some("require")),
        ],
    ),
    values(
        "client_encoding",
        "UTF8",
        &[
            ("UTF8", None),
            ("utf8", None),
            ("UTF-8", None),
            ("utf-8", None),
            ("UNICODE", None),
            ("unicode", None),
            ("auto", None),
        ],
    ),
    number("connect_timeout", "connect_timeout", 1),
    other("fallback_application_name", Support::Ignored),
    refused("gssdelegation", NO_KERBEROS),
    values(
        "gssencmode",
        "disable",
        &[("disable", None), ("prefer", None)],
    ),
    refused("gsslib", NO_KERBEROS),
    values("keepalives", "0 or 1", &[("0", Some("0")), ("1", None)]),
    number("keepalives_count", "keepalives_retries", 1),
    number("keepalives_idle", "keepalives_idle", 1),
    number("keepalives_interval", "keepalives_interval", 1),
    refused("krbsrvname", NO_KERBEROS),
    values(
        "load_balance_hosts",
        "disable or random",
        &[("disable", None), ("random", Some("random"))],
    ),
    refused(
        "max_protocol_version",
        "but hosts speak version 3.0 of the protocol only: remove it",
    ),
    refused(
        "min_protocol_version",
        "but hosts speak version 3.0 of the protocol only: remove it",
    ),
    refused("oauth_client_id", NO_OAUTH),
    refused("oauth_client_secret", NO_OAUTH),
    refused("oauth_issuer", NO_OAUTH),
    refused("oauth_scope", NO_OAUTH),
    other("options", Support::Options),
    refused("passfile", NO_FILES),
    values(
        "replication",
        "false",
        &[("false", None), ("off", None), ("no", None), ("0", None)],
    ),
    refused(
        "require_auth",
        "but hosts log in by the method that the server asks for: remove it",
    ),
    refused(
        "requirepeer",
        "which is about Unix sockets, but a component connects by TCP only: remove it",
    ),
    refused(
        "scram_client_key",
        "but hosts take a password only: remove it, and write the password into the address",
    ),
    refused(
        "scram_server_key",
        "but hosts take a password only: remove it, and write the password into the address",
    ),
    refused("service", NO_FILES),
    refused("servicefile", NO_FILES),
    refused("ssl_max_protocol_version", NO_TLS_SETTINGS),
    refused("ssl_min_protocol_version", NO_TLS_SETTINGS),
    refused("sslcert", NO_CLIENT_CERTIFICATE),
    values(
        "sslcertmode",
        "disable or allow, as hosts send no client certificate",
        &[("disable", None), ("allow", None)],
    ),
    values("sslcompression", "0", &[("0", None)]),
    refused("sslcrl", NO_LISTS),
    refused("sslcrldir", NO_LISTS),
    refused("sslkey", NO_CLIENT_CERTIFICATE),
    refused("sslkeylogfile", NO_FILES),
    // The driver's `require` checks the certificate and its name, like libpq's `verify-full`.
    values(
        "sslmode",
        "disable, prefer, require, verify-ca or verify-full",
        &[
            ("disable", Some("disable")),
            ("prefer", None),
            ("require", Some("require")),
            ("verify-ca", Some("require")),
            ("verify-full", Some("require")),
        ],
    ),
    values("sslnegotiation", "postgres", &[("postgres", None)]),
    refused("sslpassword", NO_CLIENT_CERTIFICATE),
    values(
        "sslrootcert",
        "system, or set the variable db_ca to the certificate's text",
        &[("system", None)],
    ),
    values("sslsni", "1", &[("1", None)]),
    values(
        "target_session_attrs",
        "any, read-write or read-only",
        &[
            ("any", None),
            ("read-write", Some("read-write")),
            ("read-only", Some("read-only")),
        ],
    ),
    // libpq counts in milliseconds, the driver in seconds.
    number("tcp_user_timeout", "tcp_user_timeout", 1000),
];

/// Common parameters of other libraries, each with the reason and the advice.
pub(super) const FOREIGN: &[(&str, &str)] = &[
    (
        "connection_limit",
        "which is Prisma's: remove it, and set [outbound_pg] max_connections of the host",
    ),
    (
        "currentSchema",
        "which is JDBC's: remove it; the tables are in the schema public",
    ),
    (
        "keepalives_retries",
        "which libpq calls keepalives_count: rename it",
    ),
    (
        "pgbouncer",
        "which is Prisma's: remove it; the component works behind PgBouncer without it",
    ),
    (
        "pool_timeout",
        "which is Prisma's: remove it, and set the variable db_connect_timeout_ms",
    ),
    ("prepareThreshold", "which is JDBC's: remove it"),
    (
        "schema",
        "which is Prisma's: remove it; the tables are in the schema public",
    ),
    (
        "search_path",
        "which is no parameter of a connection: remove it; the tables are in the schema public",
    ),
    (
        "ssl",
        "which libpq knows as ssl=true only: write sslmode=verify-full, or sslmode=disable",
    ),
    (
        "sslaccept",
        "which is Prisma's: remove it, and write sslmode=verify-full",
    ),
    (
        "statement_cache_size",
        "which is another library's: remove it",
    ),
    (
        "statement_timeout",
        "which is no parameter of a connection: remove it, and set the variable db_statement_timeout_ms",
    ),
];
