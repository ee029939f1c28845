//! The command line, with the flag names of `spin up`. The module reads arguments, environment variables, and the files of `--variable
//! KEY=@FILE`. `manifest.rs` reads the other files.

use std::{
    ffi::OsString,
    net::{SocketAddr, ToSocketAddrs},
    path::PathBuf,
    time::Duration,
};

use anyhow::{Context as _, Result};
use clap::{
    Parser,
    error::{ContextKind, ContextValue, ErrorKind},
};

/// Runs a Spin application's HTTP components on this machine, without Spin
// The type has no `Debug`, because variables may be secrets. This isn't a doc comment, because --help would show it.
#[derive(Parser)]
#[command(name = "reznet-host", version)]
pub struct Cli {
    /// The application's manifest
    #[arg(short = 'f', long, value_name = "PATH", default_value = "spin.toml")]
    pub from: PathBuf,

    /// IP address and port to listen on; port 0 takes a free one
    #[arg(long, value_name = "ADDR", env = "SPIN_HTTP_LISTEN_ADDR", default_value = "127.0.0.1:3000", value_parser = parse_listen)]
    pub listen: SocketAddr,

    /// Set an application variable; KEY=@FILE reads the value from a file
    #[arg(long, value_name = "KEY=VALUE")]
    pub variable: Vec<String>,

    /// Runtime configuration file; may contain only `[outbound_pg] max_connections`
    #[arg(long, value_name = "PATH", env = "RUNTIME_CONFIG_FILE")]
    pub runtime_config_file: Option<PathBuf>,

    /// Requests that one instance serves before it is dropped
    #[arg(long, value_name = "COUNT", default_value_t = 128, value_parser = parse_count)]
    pub max_instance_reuse_count: usize,

    /// Requests that one instance serves at the same time
    #[arg(long, value_name = "COUNT", default_value_t = 16, value_parser = parse_count)]
    pub max_instance_concurrent_reuse_count: usize,

    /// How long an instance without work is kept for the next request
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = parse_duration)]
    pub idle_instance_timeout: Duration,

    /// How long a request may take until its response begins, and work after the response until it ends; no limit by default
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub request_timeout: Option<Duration>,

    /// Maximum number of open connections; at the limit, a connection that waits for its client is closed to admit a new one
    #[arg(long, value_name = "COUNT", default_value_t = 1000, value_parser = parse_count)]
    pub max_connections: usize,

    /// Maximum number of open connections of one client address; IPv6 addresses count by network of 64 bits
    #[arg(long, value_name = "COUNT", default_value_t = 750, value_parser = parse_count)]
    pub max_connections_per_client: usize,

    /// How long a client may take to send a request's head, stay idle between requests, or stop reading a response
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = parse_duration)]
    pub client_timeout: Duration,

    /// Path of the application's health check; it doesn't wait behind other requests
    #[arg(long, value_name = "PATH", default_value = "/api/health")]
    pub health_path: String,

    /// Maximum size of the request line and headers; a larger head is refused with 431, at the latest at twice this size
    #[arg(long, value_name = "BYTES", default_value_t = 32_768, value_parser = parse_header_bytes)]
    pub max_header_bytes: usize,
}

impl Cli {
    /// Reads the command line. The error is one line. For an unknown argument, the error repeats only the option's name, because the rest may
    /// be a secret.
    pub fn read(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, String> {
        let error = match Self::try_parse_from(arguments) {
            Ok(cli) => return Ok(cli),
            // --help and --version aren't failures.
            Err(error) if !error.use_stderr() => error.exit(),
            Err(error) => error,
        };
        if error.kind() != ErrorKind::UnknownArgument {
            let text = error.to_string();
            let first = text.lines().next().unwrap_or_default();
            let first = first.trim_start_matches("error: ");
            return Err(format!("{first}; see --help"));
        }
        let argument = match error.get(ContextKind::InvalidArg) {
            Some(ContextValue::String(argument)) => argument.as_str(),
            _ => "",
        };
        let (name, _) = argument.split_once('=').unwrap_or((argument, ""));
        Err(if name.starts_with('-') {
            format!("there is no option {name}; see --help")
        } else {
            "there is an argument without an option; write variables like --variable KEY=VALUE, and see --help".to_owned()
        })
    }

    /// Parses the `--variable` options. clap doesn't parse them, because clap's error would repeat a malformed option, which may be a secret.
    pub fn variables(&self) -> Result<Vec<(String, String)>> {
        self.variable.iter().map(|text| variable(text)).collect()
    }
}

fn variable(text: &str) -> Result<(String, String)> {
    let (key, value) = text
        .split_once('=')
        .context("write it like --variable KEY=VALUE")?;
    let value = match value.strip_prefix('@') {
        None => value.to_owned(),
        Some(path) => std::fs::read_to_string(path)
            .with_context(|| format!("--variable {key}: can't read the file {path}"))?,
    };
    Ok((key.to_owned(), value))
}

fn parse_listen(text: &str) -> Result<SocketAddr, String> {
    let addresses = text.trim().to_socket_addrs();
    let addresses = addresses.map_err(|e| format!("{e}; write it like 127.0.0.1:3000"))?;
    // A name such as localhost often has both IPv4 and IPv6 addresses. IPv4 is preferred, as in Spin.
    let preferred = addresses.min_by_key(SocketAddr::is_ipv6);
    preferred.ok_or_else(|| "the name resolves to no address".into())
}

fn parse_count(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(count) if count > 0 => Ok(count),
        _ => Err("write a whole number, 1 or more".into()),
    }
}

/// Parses a size from 8 KiB, the minimum size of hyper's buffers, to 1 MiB.
fn parse_header_bytes(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(count) if (8192..=1 << 20).contains(&count) => Ok(count),
        _ => Err("write a whole number from 8192 to 1048576".into()),
    }
}

fn parse_duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let number: u64 = digits
        .parse()
        .map_err(|_| "write it like 1s, 500ms, 20us or 10ns")?;
    match &text[digits.len()..] {
        "" | "s" => Ok(Duration::from_secs(number)),
        "ms" => Ok(Duration::from_millis(number)),
        "us" | "μs" => Ok(Duration::from_micros(number)),
        "ns" => Ok(Duration::from_nanos(number)),
        unit => Err(format!("unknown unit {unit:?}; write s, ms, us or ns")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_accept_spins_suffixes() {
        assert_eq!(parse_duration("2"), Ok(Duration::from_secs(2)));
        assert_eq!(parse_duration("1s"), Ok(Duration::from_secs(1)));
        assert_eq!(parse_duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse_duration("7μs"), Ok(Duration::from_micros(7)));
        for wrong in ["", "s", "1m", "-1s", "1..2s"] {
            assert!(parse_duration(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_listen_address_may_have_a_host_name_and_port_zero() {
        assert_eq!(
            parse_listen("localhost:0").unwrap().to_string(),
            "127.0.0.1:0"
        );
        assert!(parse_listen("127.0.0.1:3000\n").is_ok());
        assert!(parse_listen("127.0.0.1").is_err());
    }

    #[test]
    fn the_error_for_an_invalid_variable_omits_its_value() {
        assert!(
            !variable("hunter2")
                .unwrap_err()
                .to_string()
                .contains("hunter2")
        );
        assert_eq!(variable("a=b=c").unwrap(), ("a".into(), "b=c".into()));
    }

    #[test]
    fn the_error_for_an_invalid_argument_omits_its_value() {
        let read = |argument: &str| {
            let arguments = ["reznet-host", argument].map(OsString::from);
            Cli::read(arguments).err().expect("it is refused")
        };
        for argument in [
            "db_url=postgres://u:hunter2@h/d",
            "postgres://u:hunter2@h/d",
            "--db-url=postgres://u:hunter2@h/d",
            "--variables=db_url=hunter2",
            "-v=hunter2",
        ] {
            let message = read(argument);
            assert!(message.contains("--help"), "{message}");
            assert!(!message.contains("hunter2"), "{message}");
        }
        assert!(read("--db-url=x").contains("no option --db-url;"));
        assert!(read("--listen").contains("--listen"));
    }
}
