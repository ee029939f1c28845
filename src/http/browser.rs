//! Checks the headers in which a browser names the page that made a request, and the host name that the page used. Only browsers send the
//! page's name.
//!
//! <https://www.w3.org/TR/fetch-metadata/> describes the check of origins. With DNS rebinding, an attacker's host name resolves to our address,
//! so the attacker's page has our origin. Only the `Host` header shows the attacker's name.

use std::net::{Ipv4Addr, Ipv6Addr};

use axum::http::header::{HOST, ORIGIN};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, Uri};

/// The maximum number of characters of a header that an error quotes.
const MAX_SHOWN: usize = 100;

/// Returns the origin of the page that made a browser send this request, unless the origin is ours or one of `trusted`.
pub fn foreign_origin(headers: &HeaderMap, trusted: &[String]) -> Option<String> {
    let origin = text(headers, ORIGIN.as_str());
    if origin
        .as_ref()
        .is_some_and(|origin| trusted.contains(origin))
    {
        return None;
    }
    let is_ours = match text(headers, "sec-fetch-site").as_deref() {
        // `none` means that the user started the request, for example by typing the address.
        Some("same-origin" | "none") => true,
        Some(_) => false,
        // Browsers omit the header if the address is neither HTTPS nor a loopback address.
        None => origin
            .as_ref()
            .is_none_or(|origin| is_origin_of(origin, headers)),
    };
    (!is_ours).then(|| shown(origin.as_deref().unwrap_or("unknown")))
}

/// Returns the host name in the request if an attacker's page may have chosen it: a name that is neither localhost nor in `allowed`.
///
/// IP addresses are accepted, because a page whose address is an IP address comes from the server at that address.
pub fn foreign_host(headers: &HeaderMap, uri: &Uri, allowed: &[String]) -> Option<String> {
    let named = text(headers, HOST.as_str());
    let target = uri.authority().map(Authority::as_str);
    named
        .as_deref()
        .into_iter()
        .chain(target)
        .find(|host| !is_ours(host, allowed))
        .map(shown)
}

/// Whether `host`, with or without a port, is an IP address, localhost, or one of `allowed`.
fn is_ours(host: &str, allowed: &[String]) -> bool {
    let (name, port) = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, port)) if address.parse::<Ipv6Addr>().is_ok() => (None, port),
        Some(_) => return false,
        None => {
            let (name, port) = host.split_at(host.find(':').unwrap_or(host.len()));
            (Some(name), port)
        }
    };
    let is_port = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
    if !port.is_empty() && !port.strip_prefix(':').is_some_and(is_port) {
        return false;
    }
    let Some(name) = name else {
        return true;
    };
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    name.parse::<Ipv4Addr>().is_ok()
        || name == "localhost"
        || name.ends_with(".localhost")
        || allowed.contains(&name)
}

/// Whether a page of this origin has the host of the request. The scheme may differ, because a proxy may end TLS.
fn is_origin_of(origin: &str, headers: &HeaderMap) -> bool {
    let Some((scheme, authority)) = origin.split_once("://") else {
        return false;
    };
    let default_port = match scheme {
        "https" => ":443",
        "http" => ":80",
        _ => return false,
    };
    let without_port = |text: &str| text.strip_suffix(default_port).unwrap_or(text).to_owned();
    let host = text(headers, HOST.as_str()).unwrap_or_default();
    without_port(authority).eq_ignore_ascii_case(&without_port(&host))
}

/// Returns the values of a header, separated by commas; `None` if the header is missing or empty.
fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    let values: Vec<_> = headers
        .get_all(name)
        .iter()
        .map(|value| String::from_utf8_lossy(value.as_bytes()))
        .collect();
    let text = values.join(", ");
    (!text.is_empty()).then_some(text)
}

fn shown(text: &str) -> String {
    text.chars().take(MAX_SHOWN).collect()
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderName;

    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(HeaderName::from_static(name), value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn requests_from_other_origins_are_detected() {
        let trusted = ["https://app.example.com".to_owned()];
        let foreign = |pairs: &[(&'static str, &str)]| foreign_origin(&headers(pairs), &trusted);
        let host = ("host", "localhost:3000");
        for ours in [
            &[host][..],
            &[host, ("sec-fetch-site", "same-origin")],
            &[host, ("sec-fetch-site", "none")],
            &[host, ("sec-fetch-site", "")],
            &[host, ("origin", "http://localhost:3000")],
            &[("host", "LOCALHOST:80"), ("origin", "http://localhost")],
            &[
                ("host", "api.example.com"),
                ("origin", "https://api.example.com"),
            ],
            // A proxy replaces the Host header.
            &[
                ("host", "internal:8080"),
                ("origin", "https://api.example.com"),
                ("sec-fetch-site", "same-origin"),
            ],
            &[host, ("origin", "https://app.example.com")],
            &[
                host,
                ("origin", "https://app.example.com"),
                ("sec-fetch-site", "cross-site"),
            ],
        ] {
            assert_eq!(foreign(ours), None, "{ours:?}");
        }
        let evil = ("origin", "https://evil.example");
        for (pairs, origin) in [
            (&[host, evil][..], "https://evil.example"),
            (
                &[host, evil, ("sec-fetch-site", "cross-site")],
                "https://evil.example",
            ),
            (&[host, ("sec-fetch-site", "cross-site")], "unknown"),
            (
                &[
                    host,
                    ("origin", "http://localhost:5173"),
                    ("sec-fetch-site", "same-site"),
                ],
                "http://localhost:5173",
            ),
            (
                &[host, ("origin", "http://localhost:5173")],
                "http://localhost:5173",
            ),
            (&[host, ("origin", "http://localhost")], "http://localhost"),
            (&[host, ("origin", "null")], "null"),
            (
                &[host, ("origin", "file://localhost:3000")],
                "file://localhost:3000",
            ),
            (
                &[host, ("origin", "https://app.example.com.evil.example")],
                "https://app.example.com.evil.example",
            ),
            (
                &[
                    host,
                    evil,
                    ("sec-fetch-site", "same-origin"),
                    ("sec-fetch-site", "cross-site"),
                ],
                "https://evil.example",
            ),
            (
                &[host, ("origin", "https://app.example.com"), evil],
                "https://app.example.com, https://evil.example",
            ),
        ] {
            assert_eq!(foreign(pairs).as_deref(), Some(origin), "{pairs:?}");
        }
    }

    #[test]
    fn only_host_names_open_to_dns_rebinding_are_foreign() {
        let allowed = ["api.example.com".to_owned(), "build_host".to_owned()];
        let is_foreign = |host: &str| {
            foreign_host(
                &headers(&[("host", host)]),
                &Uri::from_static("/"),
                &allowed,
            )
            .is_some()
        };
        for ours in [
            "localhost",
            "localhost:3000",
            "LocalHost:3000",
            "localhost.:3000",
            "tenant.localhost",
            "127.0.0.1:3000",
            "127.8.9.10",
            "[::1]",
            "[::1]:3000",
            "192.168.1.5:3000",
            "[fd00::5]:80",
            "10.42.0.17:80",
            "api.example.com",
            "API.example.com:443",
            "build_host:80",
            "",
        ] {
            assert!(!is_foreign(ours), "{ours}");
        }
        for name in [
            "evil.example",
            "evil.example:3000",
            "localhost.evil.example",
            "evil-localhost",
            "127.0.0.1.evil.example",
            "127.0.0.1.nip.io:3000",
            "127.1",
            "2130706433",
            "0x7f000001",
            "localhost:80@evil.example",
            "localhost@evil.example",
            "[::1].evil.example",
            "[evil]",
            "x.api.example.com",
            "example.com",
            "localhost, evil.example",
        ] {
            assert!(is_foreign(name), "{name}");
        }
        let target = Uri::from_static("http://evil.example/api/agents");
        let local = headers(&[("host", "localhost")]);
        assert!(foreign_host(&local, &target, &allowed).is_some());
        assert!(foreign_host(&HeaderMap::new(), &Uri::from_static("/"), &allowed).is_none());
    }
}
