//! Parses the address of a PostgreSQL database, adds the settings of the component's sessions, and writes a new address.
//!
//! The parser accepts both forms of libpq, `postgres://…` and `host=… dbname=…`, by libpq's rules. Each parameter of libpq works on all supported
//! hosts of components, has no effect (`Support::Ignored`), or is refused. The host's connection pool uses the written address as its key, so equal
//! settings give equal text.
//!
//! The module opens no connection. No message repeats a value, because the password may be anywhere in a malformed address.

mod parameters;
mod settings;

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};

use parameters::{FOREIGN, PARAMETERS, SERVER_PARAMETERS, Support};
use settings::Settings;

/// The name of the component's sessions in `pg_stat_activity`.
pub const APPLICATION_NAME: &str = "reznet-edge";

const DEFAULT_PORT: u16 = 5432;

/// The characters that are percent-encoded: all but the unreserved ones of RFC 3986.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// The reason why a component can't use an address. The message is the end of a sentence that begins with the variable's name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// The address has neither form of libpq, or a syntax error, which the field describes.
    #[error(
        "isn't an address of a PostgreSQL database ({0}): set it to postgres://USER:PASSWORD@HOST:PORT/DATABASE, with special \
         characters percent-encoded (@ as %40, / as %2F, % as %25)"
    )]
    Malformed(&'static str),
    /// The address's host is a directory, which means a Unix socket.
    #[error(
        "names a Unix socket, but a component connects by TCP only: set its host to the server's name or IP address"
    )]
    UnixSocket,
    /// The address has a parameter that hosts don't support, or that belongs to another library.
    #[error("has the parameter {name}, {reason}")]
    Parameter {
        /// The parameter.
        name: String,
        /// The reason for the refusal, and the advice.
        reason: &'static str,
    },
    /// The address has an unknown parameter, whose name may be a part of the password.
    #[error(
        "has an unknown parameter (parameter {position}, counted from 1): remove it, or put a value with spaces between single quotes \
         (a ' in it as \\')"
    )]
    UnnamedParameter {
        /// The position among the parameters, from 1.
        position: usize,
    },
    /// The address has a value of a parameter that isn't supported.
    #[error("has a value of the parameter {name} that isn't supported: use {allowed}")]
    Value {
        /// The parameter.
        name: &'static str,
        /// The values that are supported.
        allowed: &'static str,
    },
}

/// A valid address. Its `Debug` and `Display` texts omit the password.
#[derive(Clone, PartialEq, Eq)]
pub struct Address {
    hosts: Vec<(String, u16)>,
    user: String,
    password: Vec<u8>,
    database: String,
    /// Command-line options of the server, as `-c work_mem=8MB`.
    options: String,
    /// Further parameters, with the names and values of the hosts' driver (tokio-postgres).
    parameters: BTreeMap<&'static str, String>,
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let text = super::trimmed(text);
        let rest = ["postgres://", "postgresql://"]
            .iter()
            .find_map(|scheme| text.strip_prefix(scheme));
        let settings = match rest {
            Some(rest) => Settings::from_url(rest)?,
            None => Settings::from_pairs(text)?,
        };
        Self::from_settings(&settings)
    }
}

impl Address {
    /// Adds the options that every session of the component needs, and keeps the operator's options. PostgreSQL uses the last value of an
    /// option. So the operator's `jit` applies, but not the operator's time zone, isolation level and time limit.
    #[must_use]
    pub fn with_session_settings(mut self, statement_timeout_ms: u32) -> Self {
        let user = without_open_escape(&self.options);
        let separator = if user.is_empty() { "" } else { " " };
        // JIT costs tens of milliseconds on queries that otherwise take one. Statements and time limits rely on the other options.
        self.options = format!(
            "-c jit=off{separator}{user} -c TimeZone=UTC -c default_transaction_isolation=read\\ committed \
             -c statement_timeout={statement_timeout_ms}"
        );
        self.parameters
            .insert("application_name", APPLICATION_NAME.to_owned());
        self
    }

    /// Returns the address with another server.
    #[must_use]
    pub fn with_server(mut self, host: &str, port: u16) -> Self {
        self.hosts = vec![(host.to_owned(), port)];
        self
    }

    /// Returns the address with this parameter set.
    pub fn with_parameter(mut self, name: &str, value: &str) -> Result<Self, AddressError> {
        self.set(name, value, true, 1)?;
        Ok(self)
    }

    /// Returns the address as a URL that all hosts parse in the same way. Contains the password.
    #[must_use]
    pub fn to_url(&self) -> String {
        let mut url = "postgres://".to_owned();
        url.extend(encoded(self.user.as_bytes()));
        if !self.password.is_empty() {
            url.push(':');
            url.extend(encoded(&self.password));
        }
        url.push('@');
        url.push_str(&self.server(|host| encoded(host.as_bytes()).collect()));
        url.push('/');
        url.extend(encoded(self.database.as_bytes()));
        let options = (!self.options.is_empty()).then_some(("options", &self.options));
        let parameters = self.parameters.iter().map(|(name, value)| (*name, value));
        for (index, (name, value)) in parameters.chain(options).enumerate() {
            url.push(if index == 0 { '?' } else { '&' });
            url.push_str(name);
            url.push('=');
            url.extend(encoded(value.as_bytes()));
        }
        url
    }

    /// Returns `host:port`; several are separated by commas.
    #[must_use]
    pub fn host_port(&self) -> String {
        self.server(str::to_owned)
    }

    /// Whether the address names more than one server.
    #[must_use]
    pub fn has_several_hosts(&self) -> bool {
        self.hosts.len() > 1
    }

    fn server(&self, encode: impl Fn(&str) -> String) -> String {
        let hosts = self.hosts.iter().map(|(host, port)| {
            if host.contains(':') {
                // In an IPv6 address, only the % before a zone needs encoding.
                format!("[{}]:{port}", encode(host).replace("%3A", ":"))
            } else {
                format!("{}:{port}", encode(host))
            }
        });
        hosts.collect::<Vec<_>>().join(",")
    }

    fn from_settings(settings: &Settings) -> Result<Self, AddressError> {
        let mut address = Self {
            hosts: hosts(settings)?,
            user: settings.text("user")?.unwrap_or_default(),
            password: settings.bytes("password").unwrap_or_default().to_vec(),
            database: settings.text("dbname")?.unwrap_or_default(),
            options: String::new(),
            parameters: BTreeMap::new(),
        };
        if address.user.is_empty() {
            return Err(AddressError::Malformed("it names no user"));
        }
        if address.database.is_empty() {
            // Like in libpq, the default database is the one named after the user.
            address.database = address.user.clone();
        }
        for (position, name, value) in &settings.list {
            let is_default = value.is_empty() && PARAMETERS.iter().any(|known| known.name == name);
            if is_default || SERVER_PARAMETERS.contains(&name.as_str()) {
                continue;
            }
            let may_name = settings.may_name(name, *position);
            address.set(name, utf8(value)?, may_name, *position)?;
        }
        // With `sslrootcert=system`, libpq always checks the server's name.
        if settings.bytes("sslrootcert") == Some(b"system") {
            address
                .parameters
                .entry("sslmode")
                .or_insert_with(|| "require".to_owned());
            if address.parameters.get("sslmode").map(String::as_str) != Some("require") {
                return Err(AddressError::Value {
                    name: "sslmode",
                    allowed: "verify-full, as sslrootcert=system is set",
                });
            }
        }
        Ok(address)
    }

    /// Sets a parameter of libpq, or refuses it.
    fn set(
        &mut self,
        name: &str,
        value: &str,
        may_name: bool,
        position: usize,
    ) -> Result<(), AddressError> {
        let Some(parameter) = PARAMETERS.iter().find(|parameter| parameter.name == name) else {
            let foreign = FOREIGN.iter().find(|(foreign, _)| *foreign == name);
            return Err(match foreign {
                Some((name, reason)) => AddressError::Parameter {
                    name: (*name).to_owned(),
                    reason,
                },
                None if may_name => AddressError::Parameter {
                    name: name.to_owned(),
                    reason: "which PostgreSQL's libpq doesn't know: remove it",
                },
                None => AddressError::UnnamedParameter { position },
            });
        };
        let unsupported = |allowed| AddressError::Value {
            name: parameter.name,
            allowed,
        };
        match parameter.support {
            Support::Options => value.clone_into(&mut self.options),
            Support::Values(values) => {
                let found = values.iter().find(|(allowed, _)| *allowed == value);
                let Some((_, passed)) = found else {
                    return Err(unsupported(parameter.allowed));
                };
                match passed {
                    None => self.parameters.remove(parameter.driver),
                    Some(passed) => self
                        .parameters
                        .insert(parameter.driver, (*passed).to_owned()),
                };
            }
            Support::Number { divisor } => {
                let number: i32 = value
                    .trim()
                    .parse()
                    .map_err(|_| unsupported(parameter.allowed))?;
                // Zero and negative numbers mean the driver's default.
                match u32::try_from(number).unwrap_or(0).div_ceil(divisor) {
                    0 => self.parameters.remove(parameter.driver),
                    number => self.parameters.insert(parameter.driver, number.to_string()),
                };
            }
            Support::Ignored => {}
            Support::Refused(reason) => {
                return Err(AddressError::Parameter {
                    name: parameter.name.to_owned(),
                    reason,
                });
            }
        }
        Ok(())
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}, database {}, user {}",
            self.host_port(),
            self.database,
            self.user
        )
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({self})")
    }
}

fn encoded(bytes: &[u8]) -> impl Iterator<Item = &str> {
    percent_encode(bytes, RESERVED)
}

fn utf8(value: &[u8]) -> Result<&str, AddressError> {
    str::from_utf8(value).map_err(|_| AddressError::Malformed("a value isn't UTF-8"))
}

/// Removes a backslash at the end of the options, which would escape the space before the next option.
fn without_open_escape(options: &str) -> &str {
    let backslashes = options
        .bytes()
        .rev()
        .take_while(|byte| *byte == b'\\')
        .count();
    if backslashes % 2 == 1 {
        options.strip_suffix('\\').unwrap_or(options)
    } else {
        options
    }
}

/// Returns the servers in order.
fn hosts(settings: &Settings) -> Result<Vec<(String, u16)>, AddressError> {
    let (host, hostaddr) = (settings.text("host")?, settings.text("hostaddr")?);
    let names = match (host, hostaddr) {
        (Some(_), Some(_)) => {
            return Err(AddressError::Parameter {
                name: "hostaddr".to_owned(),
                reason: "beside a host: remove one of the two; the host is looked up by name",
            });
        }
        (Some(names), None) => names,
        (None, Some(addresses)) => {
            if !addresses
                .split(',')
                .all(|part| part.parse::<IpAddr>().is_ok())
            {
                return Err(AddressError::Value {
                    name: "hostaddr",
                    allowed: "an IP address",
                });
            }
            addresses
        }
        (None, None) => return Err(AddressError::Malformed("it names no host")),
    };
    let names: Vec<_> = names.split(',').collect();
    let ports = settings.text("port")?.unwrap_or_default();
    let ports: Vec<_> = ports.split(',').collect();
    if ports.len() != 1 && ports.len() != names.len() {
        return Err(AddressError::Malformed(
            "the number of ports differs from the number of hosts",
        ));
    }
    let ports = ports.iter().cycle();
    let hosts = names.iter().zip(ports);
    hosts
        .map(|(name, port)| Ok((host_name(name)?, port_number(port)?)))
        .collect()
}

fn host_name(name: &str) -> Result<String, AddressError> {
    // A leading / or @ means a Unix socket, in the file system or in the abstract namespace.
    if name.starts_with(['/', '@']) {
        return Err(AddressError::UnixSocket);
    }
    let is_special =
        |c: char| c.is_control() || c.is_whitespace() || "/@?#[]\\\"'<>^`{|}=&".contains(c);
    let (address, _) = name.split_once('%').unwrap_or((name, ""));
    if name.is_empty() {
        Err(AddressError::Malformed("it names no host"))
    } else if name.contains(is_special) {
        Err(AddressError::Malformed("its host has a special character"))
    } else if name.contains([':', '%']) && !matches!(address.parse(), Ok(IpAddr::V6(_))) {
        Err(AddressError::Malformed(
            "its host is neither a name nor an IP address",
        ))
    } else {
        Ok(name.to_owned())
    }
}

fn port_number(port: &str) -> Result<u16, AddressError> {
    match port.trim() {
        "" => Ok(DEFAULT_PORT),
        port => match port.parse() {
            Ok(number) if number > 0 && port.bytes().all(|byte| byte.is_ascii_digit()) => {
                Ok(number)
            }
            _ => Err(AddressError::Malformed(
                "its port isn't a whole number from 1 to 65535",
            )),
        },
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio_postgres::config::{Host, SslMode};

    use super::parameters::Parameter;
    use super::*;

    fn parse(text: &str) -> Result<Address, AddressError> {
        text.parse()
    }

    fn url(text: &str) -> String {
        parse(text)
            .unwrap_or_else(|error| panic!("{text} {error}"))
            .to_url()
    }

    fn error(text: &str) -> String {
        let Err(error) = parse(text) else {
            panic!("{text} is accepted");
        };
        error.to_string()
    }

    /// Parses the written address with the hosts' driver.
    fn driver(text: &str) -> tokio_postgres::Config {
        url(text).parse().expect("the driver reads it")
    }

    #[test]
    fn url_and_keyword_forms_parse_to_the_same_address() {
        let expected = "postgres://u:p%40ss%20%2F%25@h:6543/d%20b?connect_timeout=3&sslmode=require&options=-c%20a%3Db";
        for text in [
            "postgres://u:p%40ss%20%2f%25@h:6543/d%20b?sslmode=verify-full&options=-c%20a%3Db&connect_timeout=3",
            "postgresql://u:p%40ss%20%2f%25@h:6543/d%20b?options=-c a=b&&connect_timeout=3&sslmode=require&",
            "host=h port=6543 user=u password='p@ss /%' dbname='d b' sslmode=verify-ca options='-c a=b' connect_timeout=3",
            "  dbname = 'd b' password=p@ss\\ /% host=h\nuser=u port='6543' options=-c\\ a=b sslmode=require connect_timeout=' 3'\n",
            "postgres://h:6543/d%20b?user=u&password=p%40ss%20%2F%25&ssl=true&connect_timeout=3&options=-c%20a=b",
            "postgres://ignored:6543/?host=h&user=u&password=p%40ss%20%2F%25&ssl=true&dbname=d%20b&connect_timeout=3&options=-c%20a=b",
        ] {
            assert_eq!(url(text), expected, "{text}");
        }
    }

    #[test]
    fn omitted_parts_get_libpq_defaults() {
        for text in [
            "postgres://u@h",
            "postgres://u@h/",
            "postgres://u:@h:/?",
            "host=h user=u",
            "postgres://u@h?sslmode=&password=",
        ] {
            assert_eq!(url(text), "postgres://u@h:5432/u", "{text}");
        }
    }

    #[test]
    fn the_last_of_repeated_parameters_wins() {
        let text = "postgres://u@h/d?sslmode=require&sslmode=disable&dbname=e&options=-ca=b&options=-cc=d&host=i&port=2";
        assert_eq!(
            url(text),
            "postgres://u@i:2/e?sslmode=disable&options=-cc%3Dd"
        );
        assert_eq!(
            url("postgres://u@h/d?sslmode=disable&sslmode=prefer"),
            "postgres://u@h:5432/d"
        );
    }

    #[test]
    fn an_address_may_list_several_servers_and_ipv6_addresses() {
        for (text, servers) in [
            ("postgres://u@[::1]/d", "[::1]:5432"),
            ("postgres://u@[fe80::1%25eth0]:1/d", "[fe80::1%eth0]:1"),
            ("host=::1 user=u", "[::1]:5432"),
            ("postgres://u@a,b:2,[::3]:4/d", "a:5432,b:2,[::3]:4"),
            ("host=a,b port=1,2 user=u", "a:1,b:2"),
            ("host=a,b port=7 user=u", "a:7,b:7"),
            ("host=a,b port=,7 user=u", "a:5432,b:7"),
            ("hostaddr=10.0.0.1 user=u", "10.0.0.1:5432"),
            ("postgres://u@müller.example/d", "müller.example:5432"),
        ] {
            let address = parse(text).unwrap();
            assert_eq!(address.host_port(), servers, "{text}");
            let written = parse(&address.to_url()).unwrap();
            assert_eq!(written, address, "{text}");
            let hosts = driver(text).get_hosts().len();
            assert_eq!(hosts, servers.split(',').count(), "{text}");
            assert_eq!(hosts > 1, address.has_several_hosts(), "{text}");
        }
    }

    #[test]
    fn unusable_addresses_are_refused_with_the_reason() {
        for (text, part) in [
            ("", "neither postgres://… nor host=…"),
            ("hunter2", "neither"),
            ("jdbc:postgresql://h/d?user=u", "neither"),
            ("mysql://u:p@h/d", "neither"),
            ("postgresql+psycopg://u:p@h/d", "neither"),
            ("=x", "neither"),
            ("host", "neither"),
            ("host=h user", "neither"),
            ("host='h", "a ' without another"),
            ("user=u", "names no host"),
            ("postgres://", "names no host"),
            ("postgres:///d?user=u", "names no host"),
            ("postgres://h/d", "names no user"),
            ("postgres://u@h:port/d", "port"),
            ("postgres://u@h:0/d", "port"),
            ("postgres://u@h:65536/d", "port"),
            ("postgres://u@h:+1/d", "port"),
            ("host=a,b port=1,2,3 user=u", "number of ports differs"),
            ("postgres://u@::1/d", "brackets"),
            ("host=a:b user=u", "neither a name nor an IP address"),
            ("postgres://u@[::1/d", "[ without a ]"),
            ("postgres://u@[::1]x/d", "special character"),
            ("postgres://u@a b/d", "special character"),
            ("postgres://u:p/w@h/d", "@ after a /"),
            ("postgres://u:p@w@h/d", "more than one @"),
            ("postgres://h:1?user=u&password=p@w", "?"),
            ("postgres://u:p%@h/d", "a % that encodes nothing"),
            ("postgres://u:p%4@h/d", "a % that encodes nothing"),
            ("postgres://u:p%zz@h/d", "a % that encodes nothing"),
            ("postgres://u:p%00@h/d", "NUL"),
            ("postgres://u:p@h/d#f", "#"),
            ("postgres://u:p@h/d?sslmode=require#f", "#"),
            ("postgres://u:p@h/d\n?sslmode=require", "line break"),
            ("postgres://%ff@h/d", "UTF-8"),
            ("postgres://u@h/d?options=%ff", "UTF-8"),
            ("postgres://u@%2Frun%2Fpostgresql/d", "Unix socket"),
            ("postgres://u@/d?host=/run/postgresql", "Unix socket"),
            ("host=/run/postgresql user=u", "Unix socket"),
            ("host=@abstract user=u", "Unix socket"),
            ("host=h,/run user=u", "Unix socket"),
            (
                "host=h hostaddr=10.0.0.1 user=u",
                "the parameter hostaddr, beside a host",
            ),
            ("hostaddr=h user=u", "hostaddr"),
        ] {
            let error = error(text);
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn an_unsupported_parameter_is_named_in_the_error() {
        for (parameter, part) in [
            ("pgbouncer=true", "the parameter pgbouncer, "),
            ("pgbouncer", "the parameter pgbouncer, "),
            ("schema=", "the parameter schema, "),
            ("connection_limit=5", "max_connections"),
            ("currentSchema=public", "the parameter currentSchema, "),
            (
                "made-up.by_us=1",
                "the parameter made-up.by_us, which PostgreSQL's libpq doesn't know",
            ),
            (
                "sslmode=allow",
                "the parameter sslmode that isn't supported: use disable, prefer, require, ",
            ),
            ("sslmode=DISABLE", "the parameter sslmode"),
            ("ssl=false", "the parameter ssl,"),
            ("sslrootcert=/etc/ca.pem", "set the variable db_ca"),
            ("sslmode=disable&sslrootcert=system", "verify-full"),
            ("sslcert=x", "the parameter sslcert, "),
            ("sslnegotiation=direct", "sslnegotiation"),
            ("gssencmode=require", "gssencmode"),
            ("channel_binding=yes", "channel_binding"),
            ("client_encoding=LATIN1", "use UTF8"),
            (
                "target_session_attrs=standby",
                "use any, read-write or read-only",
            ),
            ("connect_timeout=soon", "a whole number"),
            ("connect_timeout=2s", "a whole number"),
            ("keepalives=yes", "0 or 1"),
            ("replication=database", "replication"),
            ("passfile=x", "the parameter passfile, "),
            ("service=x", "the parameter service, "),
            ("require_auth=scram-sha-256", "the parameter require_auth, "),
        ] {
            let error = error(&format!("postgres://u:p@h/d?{parameter}"));
            assert!(error.contains(part), "{parameter}: {error}");
        }
        // After a password that may contain a space, messages contain only the names of known parameters.
        let error = error("host=h user=u bogus=1 password=p se=cret dbname=d");
        assert!(error.contains("the parameter bogus"), "{error}");
        let error = self::error("host=h user=u password=p se=cret dbname=d");
        assert!(error.contains("parameter 4,"), "{error}");
        let error = self::error("host=h user=u password=p pgbouncer=true");
        assert!(error.contains("the parameter pgbouncer"), "{error}");
        let error = self::error("host=h user=u password='p' se=cret");
        assert!(!error.contains("se "), "{error}");
    }

    /// A supported value of the parameter; `None` if it's refused.
    fn working_value(parameter: &Parameter) -> Option<&'static str> {
        match parameter.support {
            Support::Options => Some("-c a=b"),
            Support::Values(values) => Some(values[0].0),
            Support::Number { .. } => Some("10"),
            Support::Ignored => Some("x"),
            Support::Refused(_) => None,
        }
    }

    #[test]
    fn every_libpq_parameter_works_or_the_error_names_it() {
        assert!(PARAMETERS.is_sorted_by(|a, b| a.name < b.name));
        for parameter in PARAMETERS {
            let name = parameter.name;
            if let Some(value) = working_value(parameter) {
                let pairs = format!("host=h user=u {name}='{value}'");
                driver(&pairs);
            } else {
                let error = error(&format!("postgres://u@h/d?{name}=x"));
                assert!(
                    error.starts_with(&format!("has the parameter {name}, ")),
                    "{error}"
                );
            }
        }
    }

    #[test]
    fn operations_md_has_the_table_of_parameters() {
        let page = std::fs::read_to_string("docs/operations.md").unwrap();
        for parameter in PARAMETERS {
            let row = format!("| `{}` |", parameter.name);
            let line = page.lines().find(|line| line.starts_with(&row));
            let line = line.unwrap_or_else(|| panic!("no row for {}", parameter.name));
            let is_refused = line.starts_with(&format!("{row} refused"));
            let expected = matches!(parameter.support, Support::Refused(_));
            assert_eq!(is_refused, expected, "{line}");
        }
        for name in SERVER_PARAMETERS {
            assert!(page.contains(&format!("| `{name}` |")), "{name}");
        }
    }

    #[test]
    fn supported_parameters_reach_the_hosts_driver_with_the_same_meaning() {
        let config = driver(
            "postgres://u@h/d?sslmode=verify-full&tcp_user_timeout=1500&keepalives_count=4&keepalives_idle=60&keepalives=0\
             &target_session_attrs=read-write&channel_binding=require&load_balance_hosts=random&connect_timeout=-1",
        );
        assert_eq!(config.get_ssl_mode(), SslMode::Require);
        assert_eq!(
            config
                .get_tcp_user_timeout()
                .map(std::time::Duration::as_secs),
            Some(2)
        );
        assert_eq!(config.get_keepalives_retries(), Some(4));
        assert_eq!(config.get_keepalives_idle().as_secs(), 60);
        assert!(!config.get_keepalives());
        assert_eq!(config.get_connect_timeout(), None);
        let text = format!("{config:?}");
        for part in ["ReadWrite", "Require", "Random"] {
            assert!(text.contains(part), "{text}");
        }
        assert_eq!(driver("host=h user=u").get_ssl_mode(), SslMode::Prefer);
        assert_eq!(
            driver("host=h user=u sslrootcert=system").get_ssl_mode(),
            SslMode::Require
        );
    }

    #[test]
    fn session_settings_are_merged_with_the_users_options() {
        let ours = "-c TimeZone=UTC -c default_transaction_isolation=read\\ committed -c statement_timeout=5000";
        for (options, expected) in [
            ("", format!("-c jit=off {ours}")),
            (
                "-c search_path=nowhere",
                format!("-c jit=off -c search_path=nowhere {ours}"),
            ),
            ("-c a=b\\", format!("-c jit=off -c a=b {ours}")),
            ("-c a=b\\\\", format!("-c jit=off -c a=b\\\\ {ours}")),
            ("-c a=b\\ ", format!("-c jit=off -c a=b\\  {ours}")),
        ] {
            let address = parse("postgres://u@h/d?application_name=theirs").unwrap();
            let address = address.with_parameter("options", options).unwrap();
            let url = address.with_session_settings(5000).to_url();
            let config: tokio_postgres::Config = url.parse().unwrap();
            assert_eq!(config.get_options(), Some(expected.as_str()), "{options}");
            assert_eq!(config.get_application_name(), Some(APPLICATION_NAME));
        }
    }

    #[test]
    fn display_and_debug_output_omit_the_password() {
        let address = parse("postgres://u:hunter2@h/d").unwrap();
        assert_eq!(address.to_string(), "h:5432, database d, user u");
        assert!(!format!("{address:?}").contains("hunter2"));
    }

    fn name() -> impl Strategy<Value = String> {
        "[a-zA-Z0-9@:/?#%&=+' \\\\äß漢-]{1,12}"
    }

    proptest! {
        #[test]
        fn to_url_output_round_trips_through_the_driver_and_our_parser(
            user in name(),
            password in proptest::collection::vec(1_u8.., 0..12),
            database in name(),
            options in name(),
            hosts in proptest::collection::vec(("[a-z][a-z0-9.-]{0,10}", 1_u16..), 1..4),
        ) {
            let address = Address {
                hosts: hosts.clone(),
                user: user.clone(),
                password: password.clone(),
                database: database.clone(),
                options: options.clone(),
                parameters: BTreeMap::from([("application_name", "a b".to_owned())]),
            };
            let config: tokio_postgres::Config = address.to_url().parse().unwrap();
            prop_assert_eq!(config.get_user(), Some(user.as_str()));
            prop_assert_eq!(config.get_password().unwrap_or_default(), &password);
            prop_assert_eq!(config.get_dbname(), Some(database.as_str()));
            prop_assert_eq!(config.get_options(), Some(options.as_str()));
            prop_assert_eq!(config.get_application_name(), Some("a b"));
            let expected: Vec<_> = hosts.iter().map(|(host, _)| Host::Tcp(host.clone())).collect();
            prop_assert_eq!(config.get_hosts(), expected);
            let ports: Vec<_> = hosts.iter().map(|(_, port)| *port).collect();
            prop_assert_eq!(config.get_ports(), ports);
            let mut read = parse(&address.to_url()).unwrap();
            read.parameters.insert("application_name", "a b".to_owned());
            prop_assert_eq!(read, address);
        }

        /// Checks that neither the message nor the parts that may be shown contain any part of an unencoded password.
        #[test]
        fn output_and_errors_never_contain_any_part_of_the_password(
            password in "[XYZ789@:/?#%&=+' \\\\,\\[\\]]{1,24}",
            form in 0_usize..8,
        ) {
            let text = match form {
                0 => format!("postgres://u:{password}@h/d"),
                1 => format!("postgresql://u:{password}@h:5432/d?sslmode=require"),
                2 => format!("host=h user=u password={password} dbname=d"),
                3 => format!("host=h user=u password='{password}' dbname=d"),
                4 => format!("password={password}"),
                5 => format!("postgres:/u:{password}@h/d"),
                6 => format!("postgres://u@h/d?password={password}"),
                _ => password,
            };
            let shown = match parse(&text) {
                Ok(address) => format!("{address} {address:?}"),
                Err(error) => error.to_string(),
            };
            prop_assert!(!shown.contains(['X', 'Y', 'Z', '7', '8', '9']), "{}: {}", text, shown);
        }

        #[test]
        fn no_text_makes_it_panic(text in "(postgres://)?\\PC{0,40}") {
            let _ = parse(&text).map(|address| (address.to_url(), address.to_string()));
        }
    }
}
