//! The component's configuration: reads Spin variables and returns a validated [`Config`].
//!
//! The module reads only variables, and each instance reads them once, because Spin's source of variables may be slow. The error for an invalid
//! value names the variable. No message contains the value of a secret.

pub mod address;

use std::str::FromStr;
use std::time::Duration;

pub use address::APPLICATION_NAME;
use address::{Address, AddressError};

use crate::profile::{FleetSettings, LogFormat, Target, Thresholds};

/// All settings, validated. The README lists the variables with their defaults.
///
/// The type has no `Debug`, because it contains tokens.
#[derive(Clone)]
pub struct Config {
    /// The database's address, including the settings of the component's sessions.
    pub db_address: Address,
    /// The address of a replica for reads.
    pub db_read_address: Option<Address>,
    /// The largest lag at which a replica is still read.
    pub db_read_max_lag: Duration,
    /// The certificate, as PEM, of the authority that must have issued the databases' certificates.
    pub db_ca: Option<String>,
    /// How long a request waits for a database connection before it is answered 503.
    pub db_connect_timeout: Duration,
    /// How long a statement may run before the database cancels it and the request is answered 504.
    pub db_statement_timeout: Duration,
    /// The size of the host's connection pool, which the operator sets here because a component can't read it.
    pub db_pool_size: u32,
    /// The requirement for the durations of queries.
    pub target: Target,
    /// The thresholds from which queries and requests are logged.
    pub thresholds: Thresholds,
    /// The format of log lines.
    pub log_format: LogFormat,
    /// How many statements a read request may send before it is logged as over budget.
    pub read_query_budget: usize,
    /// How many statements a write request may send before it is logged as over budget.
    pub write_query_budget: usize,
    /// Whether only admins get the profiling headers.
    pub hides_profiling_headers: bool,
    /// The tokens that clients send as `Authorization: Bearer …`. Several tokens allow rotation. The list is empty if the API is open.
    pub api_tokens: Vec<String>,
    /// The tokens of administrators. The list is empty if there are no administrators.
    pub admin_tokens: Vec<String>,
    /// The origins of pages that may use the API from a browser, such as `https://app.example.com`.
    pub cors_origins: Vec<String>,
    /// The host names, besides localhost and IP addresses, that requests may use if no token is configured. The check prevents DNS rebinding.
    pub allowed_hosts: Vec<String>,
    /// How long reads of agents and channels stay in the key-value store. Zero disables the cache.
    pub cache_ttl: Duration,
    /// The minimum age of statistics, in days, from which an index without scans counts as unused.
    pub unused_index_days: u32,
    /// How request durations are collected for the fleet's percentiles. `None` if profiling is off.
    pub fleet: Option<FleetSettings>,
}

/// A variable that is missing or invalid. The message is one line, for the operator.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ConfigError {
    /// The manifest doesn't pass this variable to the component, or the host can't read it.
    #[error("the variable {name} can't be read ({reason}): declare it in spin.toml, or set SPIN_VARIABLE_{}", name.to_uppercase())]
    Unreadable {
        /// The variable.
        name: &'static str,
        /// The host's message.
        reason: String,
    },
    /// The value isn't a whole number within its bounds.
    #[error("the variable {name} is \"{value}\": set it to a whole number from {min} to {max}")]
    NotInRange {
        /// The variable.
        name: &'static str,
        /// The value of the variable.
        value: String,
        /// The smallest value allowed.
        min: u32,
        /// The largest value allowed.
        max: u32,
    },
    /// The warning threshold lies above the error threshold.
    #[error("{warn} is above {error}: set {warn} to the smaller of the two")]
    ThresholdsCrossed {
        /// The variable with the warning threshold.
        warn: &'static str,
        /// The variable with the error threshold.
        error: &'static str,
    },
    /// The value isn't one of the two allowed words.
    #[error("the variable {name} is \"{value}\": set it to {first} or {second}")]
    NotAWord {
        /// The variable.
        name: &'static str,
        /// The value of the variable.
        value: String,
        /// One of the allowed words.
        first: &'static str,
        /// The other allowed word.
        second: &'static str,
    },
    /// A token is too short to be a secret. The message doesn't repeat the token.
    #[error(
        "the variable {name} has a token of fewer than 16 characters: set it to longer ones, separated by spaces"
    )]
    TokenTooShort {
        /// The variable.
        name: &'static str,
    },
    /// A part of the value isn't an origin in the form that browsers send.
    #[error(
        "the variable cors_origins has \"{value}\": set it to origins as https://app.example.com, without a path, separated by spaces"
    )]
    NotAnOrigin {
        /// The wrong part of the value.
        value: String,
    },
    /// A part of the value isn't a host name.
    #[error(
        "the variable allowed_hosts has \"{value}\": set it to names such as api.example.com, without scheme and port, separated by spaces; localhost and IP addresses need no entry"
    )]
    NotAHost {
        /// The wrong part of the value.
        value: String,
    },
    /// The value isn't a certificate.
    #[error(
        "the variable db_ca isn't a certificate: set it to the text of a PEM file, which begins with -----BEGIN CERTIFICATE-----"
    )]
    NotACertificate,
    /// The value isn't a database address, or has a parameter that hosts don't support. The message doesn't repeat the value,
    /// which contains a password.
    #[error("the variable {name} {problem}")]
    Address {
        /// The variable.
        name: &'static str,
        /// The error in its value.
        problem: AddressError,
    },
}

impl Config {
    /// Reads every variable from the host and checks it.
    pub async fn from_variables() -> Result<Self, ConfigError> {
        let db_url = read("db_url").await?;
        let db_read_url = read("db_read_url").await?;
        let db_statement_timeout_ms = number("db_statement_timeout_ms", 1, 600_000).await?;
        Ok(Self {
            db_address: address("db_url", &db_url, db_statement_timeout_ms)?,
            db_read_address: (!db_read_url.is_empty())
                .then(|| address("db_read_url", &db_read_url, db_statement_timeout_ms))
                .transpose()?,
            db_read_max_lag: milliseconds("db_read_max_lag_ms", 0, 3_600_000).await?,
            db_ca: certificate(read("db_ca").await?)?,
            db_connect_timeout: milliseconds("db_connect_timeout_ms", 1, 60_000).await?,
            db_statement_timeout: Duration::from_millis(db_statement_timeout_ms.into()),
            db_pool_size: number("db_pool_size", 1, 10_000).await?,
            target: Target {
                limit_us: u64::from(number("query_target_ms", 1, 600_000).await?) * 1000,
                percent: number("query_target_percent", 1, 100).await?,
            },
            thresholds: Thresholds {
                repeated_query_count: count("repeated_query_count", 2, 1_000_000).await?,
                duplicate_query_count: count("duplicate_query_count", 2, 1_000_000).await?,
                ..thresholds(
                    number("slow_query_warn_ms", 0, 600_000).await?,
                    number("slow_query_error_ms", 0, 600_000).await?,
                    number("slow_request_warn_ms", 0, 600_000).await?,
                    number("slow_request_error_ms", 0, 600_000).await?,
                )?
            },
            log_format: if word("log_format", "text", "json").await? {
                LogFormat::Text
            } else {
                LogFormat::Json
            },
            read_query_budget: count("read_query_budget", 0, 1_000_000).await?,
            write_query_budget: count("write_query_budget", 0, 1_000_000).await?,
            hides_profiling_headers: !word("profiling_headers", "on", "off").await?,
            api_tokens: tokens("api_token", &read("api_token").await?)?,
            admin_tokens: tokens("admin_token", &read("admin_token").await?)?,
            cors_origins: origins(&read("cors_origins").await?)?,
            allowed_hosts: hosts(&read("allowed_hosts").await?)?,
            cache_ttl: Duration::from_secs(number("cache_seconds", 0, 3600).await?.into()),
            unused_index_days: number("unused_index_days", 0, 3650).await?,
            fleet: if word("profiling", "on", "off").await? {
                Some(FleetSettings {
                    flush_interval: milliseconds("profiling_flush_ms", 0, 60_000).await?,
                    one_in: number("profiling_one_in", 1, 1_000_000).await?,
                })
            } else {
                None
            },
        })
    }
}

/// Reads a variable, and trims its value.
async fn read(name: &'static str) -> Result<String, ConfigError> {
    let value = spin_sdk::variables::get(name).await;
    let value = value.map_err(|error| ConfigError::Unreadable {
        name,
        reason: error.to_string(),
    })?;
    Ok(trimmed(&value).to_owned())
}

/// Removes white space and a byte order mark at both ends, because values may come from files that end with a line break.
fn trimmed(value: &str) -> &str {
    value.trim_matches(|c: char| c.is_whitespace() || c == '\u{feff}')
}

async fn number(name: &'static str, min: u32, max: u32) -> Result<u32, ConfigError> {
    parse_number(name, read(name).await?, min, max)
}

async fn milliseconds(name: &'static str, min: u32, max: u32) -> Result<Duration, ConfigError> {
    let number = number(name, min, max).await?;
    Ok(Duration::from_millis(number.into()))
}

async fn count(name: &'static str, min: u32, max: u32) -> Result<usize, ConfigError> {
    let number = number(name, min, max).await?;
    Ok(usize::try_from(number).unwrap_or(usize::MAX))
}

/// Returns true if the variable is `first`, and false if it is `second`. Any other value is an error.
async fn word(
    name: &'static str,
    first: &'static str,
    second: &'static str,
) -> Result<bool, ConfigError> {
    parse_word(name, read(name).await?, first, second)
}

fn parse_word(
    name: &'static str,
    value: String,
    first: &'static str,
    second: &'static str,
) -> Result<bool, ConfigError> {
    match value.as_str() {
        word if word == first => Ok(true),
        word if word == second => Ok(false),
        _ => Err(ConfigError::NotAWord {
            name,
            value,
            first,
            second,
        }),
    }
}

/// Returns the text of a certificate, or `None` if the text is empty. A text that isn't a certificate is an error.
fn certificate(text: String) -> Result<Option<String>, ConfigError> {
    if text.is_empty() {
        return Ok(None);
    }
    if !text.starts_with("-----BEGIN CERTIFICATE-----") {
        return Err(ConfigError::NotACertificate);
    }
    Ok(Some(text))
}

/// Splits a text into tokens at white space, and checks their length.
fn tokens(name: &'static str, text: &str) -> Result<Vec<String>, ConfigError> {
    let tokens: Vec<_> = text.split_whitespace().map(str::to_owned).collect();
    if tokens.iter().any(|token| token.len() < 16) {
        return Err(ConfigError::TokenTooShort { name });
    }
    Ok(tokens)
}

/// Splits a text into host names at white space. Returns them in lower case for comparison.
fn hosts(text: &str) -> Result<Vec<String>, ConfigError> {
    let may_be_in_name = |b: u8| b.is_ascii_alphanumeric() || b"-._".contains(&b);
    let host = |name: &str| {
        if name.bytes().all(may_be_in_name) {
            return Ok(name.to_ascii_lowercase());
        }
        let value = name.to_owned();
        Err(ConfigError::NotAHost { value })
    };
    text.split_whitespace().map(host).collect()
}

/// Splits a text at white space into origins as browsers send them: scheme, host and port, in lower case, without the scheme's
/// default port.
fn origins(text: &str) -> Result<Vec<String>, ConfigError> {
    let may_be_in_host =
        |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.:[]".contains(&b);
    let origin = |origin: &str| {
        let schemes = [("https://", ":443"), ("http://", ":80")];
        let parts = schemes
            .iter()
            .find_map(|(scheme, default_port)| Some((origin.strip_prefix(scheme)?, default_port)));
        match parts {
            Some((host, default_port)) if !host.is_empty() && host.bytes().all(may_be_in_host) => {
                Ok(origin
                    .strip_suffix(default_port)
                    .unwrap_or(origin)
                    .to_owned())
            }
            _ => Err(ConfigError::NotAnOrigin {
                value: origin.to_owned(),
            }),
        }
    };
    text.split_whitespace().map(origin).collect()
}

fn parse_number(name: &'static str, value: String, min: u32, max: u32) -> Result<u32, ConfigError> {
    match u32::from_str(&value) {
        Ok(number) if (min..=max).contains(&number) => Ok(number),
        _ => Err(ConfigError::NotInRange {
            name,
            value,
            min,
            max,
        }),
    }
}

fn thresholds(
    query_warn_ms: u32,
    query_error_ms: u32,
    request_warn_ms: u32,
    request_error_ms: u32,
) -> Result<Thresholds, ConfigError> {
    if query_warn_ms > query_error_ms {
        return Err(ConfigError::ThresholdsCrossed {
            warn: "slow_query_warn_ms",
            error: "slow_query_error_ms",
        });
    }
    if request_warn_ms > request_error_ms {
        return Err(ConfigError::ThresholdsCrossed {
            warn: "slow_request_warn_ms",
            error: "slow_request_error_ms",
        });
    }
    Ok(Thresholds {
        query_warn_us: u64::from(query_warn_ms) * 1000,
        query_error_us: u64::from(query_error_ms) * 1000,
        request_warn_us: u64::from(request_warn_ms) * 1000,
        request_error_us: u64::from(request_error_ms) * 1000,
        ..Thresholds::default()
    })
}

/// Parses the address in the variable `name`, and adds the settings of the component's sessions.
fn address(
    name: &'static str,
    text: &str,
    statement_timeout_ms: u32,
) -> Result<Address, ConfigError> {
    let address: Address = text
        .parse()
        .map_err(|problem| ConfigError::Address { name, problem })?;
    Ok(address.with_session_settings(statement_timeout_ms))
}

#[cfg(test)]
impl Config {
    /// Returns a valid configuration for tests.
    #[must_use]
    pub fn example() -> Self {
        Self {
            db_address: "postgres://reznet_api@localhost/reznet".parse().unwrap(),
            db_read_address: None,
            db_read_max_lag: Duration::from_secs(1),
            db_ca: None,
            db_connect_timeout: Duration::from_secs(2),
            db_statement_timeout: Duration::from_secs(5),
            db_pool_size: 64,
            target: Target::default(),
            thresholds: Thresholds::default(),
            log_format: LogFormat::Text,
            read_query_budget: 1,
            write_query_budget: 3,
            hides_profiling_headers: false,
            api_tokens: Vec::new(),
            admin_tokens: Vec::new(),
            cors_origins: Vec::new(),
            allowed_hosts: Vec::new(),
            cache_ttl: Duration::ZERO,
            unused_index_days: 7,
            fleet: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_must_be_in_pem_format() {
        let pem = "-----BEGIN CERTIFICATE-----\nMII=\n-----END CERTIFICATE-----\n";
        assert_eq!(certificate(pem.to_owned()).unwrap().as_deref(), Some(pem));
        assert!(certificate(String::new()).unwrap().is_none());
        let error = certificate("/etc/ca.pem".to_owned())
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with("the variable db_ca isn't a certificate"),
            "{error}"
        );
    }

    #[test]
    fn invalid_address_error_names_the_variable_and_omits_the_value() {
        for value in [
            "hunter2",
            "postgres://u:hunter2/@h/d",
            "host=h password=hunter2 hunter2",
        ] {
            let error = address("db_read_url", value, 1).unwrap_err().to_string();
            assert!(
                error.starts_with("the variable db_read_url isn't an address"),
                "{error}"
            );
            assert!(!error.contains("hunter2"), "{error}");
        }
        let error = address("db_url", "postgres://u@h/d?pgbouncer=true", 1).unwrap_err();
        let error = error.to_string();
        assert!(
            error.starts_with("the variable db_url has the parameter pgbouncer, "),
            "{error}"
        );
    }

    #[test]
    fn values_are_trimmed_at_both_ends() {
        assert_eq!(trimmed("\u{feff}  a b\r\n\n"), "a b");
        assert_eq!(trimmed(" \n"), "");
    }

    #[test]
    fn invalid_number_error_shows_the_variable_the_value_and_the_range() {
        for value in ["-1", "601", "abc", "", "1.5", "99999999999"] {
            let error = parse_number("slow_query_warn_ms", value.to_owned(), 0, 600)
                .unwrap_err()
                .to_string();
            assert_eq!(
                error,
                format!(
                    "the variable slow_query_warn_ms is \"{value}\": set it to a whole number from 0 to 600"
                )
            );
        }
        assert_eq!(
            parse_number("slow_query_warn_ms", "600".to_owned(), 0, 600).unwrap(),
            600
        );
    }

    #[test]
    fn a_variable_with_two_possible_values_refuses_others() {
        let parse = |value: &str| parse_word("log_format", value.to_owned(), "text", "json");
        assert!(parse("text").unwrap());
        assert!(!parse("json").unwrap());
        let error = parse("xml").unwrap_err().to_string();
        assert_eq!(
            error,
            "the variable log_format is \"xml\": set it to text or json"
        );
    }

    #[test]
    fn short_tokens_are_refused_without_showing_them() {
        let tokens = |text: &str| tokens("api_token", text);
        assert!(tokens("").unwrap().is_empty());
        let two = format!("{} {}", "a".repeat(16), "b".repeat(20));
        assert_eq!(tokens(&two).unwrap().len(), 2);
        let error = tokens("hunter2").unwrap_err().to_string();
        assert!(error.contains("api_token") && !error.contains("hunter2"));
    }

    #[test]
    fn default_ports_are_removed_from_origins_and_invalid_origins_refused() {
        assert!(origins("").unwrap().is_empty());
        assert_eq!(
            origins(" https://app.example.com  http://localhost:5173 ").unwrap(),
            ["https://app.example.com", "http://localhost:5173"]
        );
        assert_eq!(
            origins(
                "https://a.example:443 http://b.example:80 http://c.example:443 https://[::1]:443"
            )
            .unwrap(),
            [
                "https://a.example",
                "http://b.example",
                "http://c.example:443",
                "https://[::1]"
            ]
        );
        for wrong in [
            "*",
            "app.example.com",
            "https://",
            "https://app.example.com/",
            "https://App.example.com",
            "https://a@b",
        ] {
            let error = origins(wrong).unwrap_err().to_string();
            assert!(error.contains(&format!("\"{wrong}\"")), "{error}");
        }
    }

    #[test]
    fn allowed_hosts_refuses_ports_wildcards_and_urls() {
        assert!(hosts("").unwrap().is_empty());
        assert_eq!(
            hosts(" API.example.com\nbuild_host 192.168.1.5").unwrap(),
            ["api.example.com", "build_host", "192.168.1.5"]
        );
        for wrong in [
            "*",
            "*.example.com",
            "api:3000",
            "http://api",
            "[::1]",
            "b\u{fc}cher.example",
        ] {
            let error = hosts(wrong).unwrap_err().to_string();
            assert!(
                error.contains(&format!("allowed_hosts has \"{wrong}\"")),
                "{error}"
            );
        }
    }

    #[test]
    fn a_warning_threshold_above_the_error_threshold_is_refused() {
        assert!(thresholds(100, 500, 200, 1000).is_ok());
        let query = thresholds(501, 500, 200, 1000).unwrap_err().to_string();
        assert!(query.starts_with("slow_query_warn_ms is above slow_query_error_ms"));
        let request = thresholds(1, 2, 3, 2).unwrap_err().to_string();
        assert!(request.starts_with("slow_request_warn_ms is above slow_request_error_ms"));
    }
}
