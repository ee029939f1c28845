//! The command line, with the names of `spin up`'s flags. It reads nothing but arguments and their
//! environment variables: what they point to is read by `manifest.rs` and `variables.rs`.

use std::{
    net::{SocketAddr, ToSocketAddrs},
    path::PathBuf,
    time::Duration,
};

use anyhow::{Context as _, Result};
use clap::Parser;

/// Runs a Spin application's HTTP components on this machine, without Spin.
#[derive(Debug, Parser)]
#[command(name = "reznet-host", version)]
pub struct Cli {
    /// The application's manifest
    #[arg(
        short = 'f',
        long = "from",
        value_name = "PATH",
        default_value = "spin.toml"
    )]
    pub from: PathBuf,

    /// IP address and port to listen on; port 0 takes a free one
    #[arg(long, value_name = "ADDR", env = "SPIN_HTTP_LISTEN_ADDR", default_value = "127.0.0.1:3000", value_parser = parse_listen)]
    pub listen: SocketAddr,

    /// Set an application variable; KEY=@FILE reads the value from a file
    #[arg(long, value_name = "KEY=VALUE")]
    pub variable: Vec<String>,

    /// Runtime configuration: `[outbound_pg] max_connections`
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
}

impl Cli {
    /// The variables given with `--variable`. Not clap's to parse: it would repeat a wrong one, which may be a secret.
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
    let addresses: Vec<_> = text
        .to_socket_addrs()
        .map_err(|e| format!("{e}; write it like 127.0.0.1:3000"))?
        .collect();
    // A name such as localhost often stands for both families: take IPv4, as Spin does.
    let preferred = addresses.iter().find(|address| address.is_ipv4());
    preferred
        .or(addresses.first())
        .copied()
        .ok_or_else(|| "it stands for no address".into())
}

fn parse_count(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(count) if count > 0 => Ok(count),
        _ => Err("write a whole number, 1 or more".into()),
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
    fn durations_take_spins_suffixes() {
        assert_eq!(parse_duration("2"), Ok(Duration::from_secs(2)));
        assert_eq!(parse_duration("1s"), Ok(Duration::from_secs(1)));
        assert_eq!(parse_duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse_duration("7μs"), Ok(Duration::from_micros(7)));
        for wrong in ["", "s", "1m", "-1s", "1..2s"] {
            assert!(parse_duration(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_listen_address_may_be_a_name_and_port_zero() {
        assert_eq!(
            parse_listen("localhost:0").unwrap().to_string(),
            "127.0.0.1:0"
        );
        assert!(parse_listen("127.0.0.1").is_err());
    }

    #[test]
    fn a_wrong_variable_is_not_repeated() {
        assert!(
            !variable("hunter2")
                .unwrap_err()
                .to_string()
                .contains("hunter2")
        );
        assert_eq!(variable("a=b=c").unwrap(), ("a".into(), "b=c".into()));
    }
}
