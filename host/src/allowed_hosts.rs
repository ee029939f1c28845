//! Checks database addresses against a component's `allowed_outbound_hosts`, without opening connections. Only `postgres` addresses are
//! checked, because the host offers no other network access.

use std::net::IpAddr;

use anyhow::{Context as _, Result, bail, ensure};
use tokio_postgres::{Config, config::Host};

use crate::variables::Variables;

const SCHEME: &str = "postgres";
const DEFAULT_PORT: u16 = 5432;

/// The parsed `allowed_outbound_hosts` of one component.
#[derive(Debug)]
pub struct AllowedHosts(Vec<Pattern>);

/// One entry, `scheme://host[:port]`, in which each part may be `*`.
#[derive(Debug)]
struct Pattern {
    postgres: bool,
    host: HostPattern,
    /// `None` allows any port.
    port: Option<u16>,
}

#[derive(Debug)]
enum HostPattern {
    Any,
    /// The part after the asterisk: for `*.example.com`, this is `.example.com`.
    Subdomain(String),
    Name(String),
    Address(IpAddr),
}

impl AllowedHosts {
    /// Parses the manifest's entries, and fills in their variables first. Errors show the template, not the variables' values.
    pub fn parse(entries: &[String], variables: &Variables) -> Result<Self> {
        let parse = |entry: &String| {
            let parsed = variables
                .fill(entry)
                .and_then(|filled| Pattern::parse(&filled));
            parsed.with_context(|| format!("allowed_outbound_hosts {entry:?}"))
        };
        Ok(Self(entries.iter().map(parse).collect::<Result<_>>()?))
    }

    /// Checks every host that the connection string names. The error names the first forbidden host.
    pub fn check(&self, config: &Config) -> Result<(), String> {
        let ports = config.get_ports();
        for (index, host) in config.get_hosts().iter().enumerate() {
            let Host::Tcp(host) = host else {
                return Err("Unix sockets are not supported on WebAssembly".into());
            };
            // A single port applies to all hosts. Several ports apply to the hosts in order.
            let port = ports.get(if ports.len() == 1 { 0 } else { index });
            let shown = port.map_or_else(String::new, |port| format!(":{port}"));
            // If there is a hostaddr, the driver connects to it instead of the host.
            let address = config.get_hostaddrs().get(index).map(ToString::to_string);
            for target in [Some(host.clone()), address].into_iter().flatten() {
                let is_allowed = |pattern: &Pattern| {
                    pattern.allows(&target, port.copied().unwrap_or(DEFAULT_PORT))
                };
                if !self.0.iter().any(is_allowed) {
                    let address = format!("postgres://{target}{shown}");
                    return Err(format!("address {address} is not permitted"));
                }
            }
        }
        // The loop above doesn't check a hostaddr without a host, so such an address is refused.
        if config.get_hostaddrs().len() > config.get_hosts().len() {
            return Err("hostaddr needs a host beside it".into());
        }
        Ok(())
    }
}

impl Pattern {
    fn parse(entry: &str) -> Result<Self> {
        let (scheme, rest) = entry
            .trim()
            .split_once("://")
            .context("write it like postgres://host:port, with * for any scheme, host or port")?;
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        ensure!(
            !rest.contains(['/', '@', '{']),
            "only scheme, host and port belong here"
        );
        let (host, port) = match rest.rsplit_once(':') {
            // The colons of an IPv6 address without brackets don't begin a port.
            Some((host, port)) if !host.contains(':') || host.ends_with(']') => (host, Some(port)),
            _ => (rest, None),
        };
        let port = match port {
            Some("*") => None,
            Some(port) => Some(port.parse().context("the port is not a number")?),
            None if scheme == SCHEME => Some(DEFAULT_PORT),
            // The scheme `*` includes PostgreSQL, but has no default port. Like Spin, the host refuses `*://host` without a port.
            None if scheme == "*" => {
                bail!("the scheme * has no default port; write the port, or :*")
            }
            None => None,
        };
        Ok(Self {
            postgres: scheme == SCHEME || scheme == "*",
            // Trims the host, as Spin does, because the value of a variable in the entry may begin with a space.
            host: HostPattern::parse(host.trim())?,
            port,
        })
    }

    fn allows(&self, host: &str, port: u16) -> bool {
        self.postgres && self.port.is_none_or(|allowed| allowed == port) && self.host.allows(host)
    }
}

impl HostPattern {
    fn parse(host: &str) -> Result<Self> {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        Ok(if host == "*" {
            Self::Any
        } else if let Ok(address) = bare.parse() {
            Self::Address(address)
        } else if let Some(domain) = host.strip_prefix('*') {
            ensure!(
                domain.starts_with('.') && !domain.contains('*'),
                "* stands alone or before a dot, like *.example.com"
            );
            Self::Subdomain(domain.to_ascii_lowercase())
        } else {
            ensure!(
                !host.is_empty() && !host.contains('*'),
                "the host is neither a name nor an address"
            );
            Self::Name(host.to_ascii_lowercase())
        })
    }

    fn allows(&self, host: &str) -> bool {
        let host = host.to_ascii_lowercase();
        match self {
            Self::Any => true,
            Self::Subdomain(suffix) => host.ends_with(suffix.as_str()),
            Self::Name(name) => host == *name,
            Self::Address(address) => host.parse() == Ok(*address),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(entry: &str) -> Result<AllowedHosts> {
        AllowedHosts::parse(&[entry.to_owned()], &Variables::default())
    }

    fn check(entry: &str, address: &str) -> Result<(), String> {
        parse(entry).unwrap().check(&address.parse().unwrap())
    }

    #[test]
    fn a_listed_address_is_permitted() {
        for (entry, address) in [
            (
                "postgres://127.0.0.1:54329",
                "postgres://u:p@127.0.0.1:54329/db",
            ),
            (
                "postgres://db.example.com",
                "postgres://u@DB.example.com/db",
            ),
            ("postgres://db:5432", "host=db user=u"),
            (
                "postgres://*.example.com:*",
                "host=a.b.example.com port=6000",
            ),
            ("*://*:*", "host=anything port=1"),
            ("postgres://*:5432/", "host=a,b port=5432"),
            ("postgres://[::1]:5432", "host=::1 user=u"),
            ("postgres:// db:5432\r\n", "host=db user=u"),
        ] {
            assert_eq!(check(entry, address), Ok(()), "{entry} {address}");
        }
    }

    #[test]
    fn unlisted_addresses_are_refused_with_spins_error_message() {
        for (entry, address, refused) in [
            (
                "postgres://127.0.0.1:54329",
                "postgres://u:p@127.0.0.1:5432/db",
                "127.0.0.1:5432",
            ),
            ("postgres://db", "postgres://other/db", "other:5432"),
            (
                "postgres://*.example.com",
                "host=example.com",
                "example.com",
            ),
            ("mysql://db:5432", "host=db port=5432", "db:5432"),
            ("postgres://a", "host=a,b", "b"),
            ("postgres://a", "host=a hostaddr=10.0.0.1", "10.0.0.1"),
        ] {
            let expected = format!("address postgres://{refused} is not permitted");
            assert_eq!(check(entry, address), Err(expected), "{entry} {address}");
        }
        assert!(
            check("*://*:*", "host=/run/postgresql")
                .unwrap_err()
                .contains("Unix sockets")
        );
        assert!(check("*://*:*", "hostaddr=10.0.0.1").is_err());
    }

    #[test]
    fn a_malformed_entry_is_an_error() {
        for entry in [
            "db:5432",
            "postgres://db:x",
            "postgres://a*b:1",
            "postgres://u@db:1",
            "*://db",
            "postgres://",
        ] {
            assert!(parse(entry).is_err(), "{entry}");
        }
    }
}
