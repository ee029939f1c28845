//! Finds the full URI of a request from its target and its Host header (RFC 9112, 3.2).
//!
//! The module refuses every request that a proxy in front of the host could interpret differently. hyper has already refused differing
//! Content-Length lines, a Transfer-Encoding that doesn't end in chunked, folded header lines, and bare carriage returns.

use std::net::{Ipv6Addr, SocketAddr};

use http::{
    Method, Request, StatusCode, Uri, Version,
    header::HOST,
    uri::{Authority, PathAndQuery, Scheme},
};

/// The resource that a request asks for.
#[derive(Debug, PartialEq)]
pub enum Target {
    /// The server itself: `OPTIONS *`.
    Server,
    /// A resource, by its full URI.
    Resource(Uri),
}

/// The status and the text of the response to a refused request.
pub type Refusal = (StatusCode, &'static str);

/// Returns the target of a request. For an HTTP/1.0 request without a Host header, the URI has the host's own address, `local`.
pub fn target<B>(request: &Request<B>, local: SocketAddr) -> Result<Target, Refusal> {
    let bad_request = |text| (StatusCode::BAD_REQUEST, text);
    let uri = request.uri();
    let mut hosts = request.headers().get_all(HOST).iter();
    let host = hosts.next();
    if hosts.next().is_some() {
        return Err(bad_request("the request has more than one Host header\n"));
    }
    if host.is_none() && request.version() >= Version::HTTP_11 {
        return Err(bad_request("the request has no Host header\n"));
    }
    let host = match host.map(http::HeaderValue::as_bytes) {
        None => None,
        // An empty Host is valid if the request is for the server itself, or has the authority in its target.
        Some(b"") if uri.path() == "*" || uri.authority().is_some() => None,
        Some(text) => Some(authority(text).ok_or(bad_request("the Host header is not valid\n"))?),
    };
    if request.method() == Method::CONNECT {
        let text = "CONNECT is not supported: this is no proxy\n";
        return Err((StatusCode::NOT_IMPLEMENTED, text));
    }
    if uri.path() == "*" {
        return match *request.method() {
            Method::OPTIONS => Ok(Target::Server),
            _ => Err(bad_request("only OPTIONS may have the target *\n")),
        };
    }
    let mut parts = uri.clone().into_parts();
    parts.authority = match (&parts.scheme, &parts.authority) {
        (Some(scheme), Some(named)) if [Scheme::HTTP, Scheme::HTTPS].contains(scheme) => {
            // The target's authority replaces the Host header (RFC 9112, 3.2.2).
            authority(named.as_str().as_bytes())
        }
        (None, None) => host.or_else(|| local.to_string().parse().ok()),
        _ => None,
    };
    if parts.authority.is_none() {
        return Err(bad_request("the request target is not valid\n"));
    }
    parts.scheme = Some(Scheme::HTTP);
    parts
        .path_and_query
        .get_or_insert_with(|| PathAndQuery::from_static("/"));
    Uri::from_parts(parts)
        .map(Target::Resource)
        .map_err(|_| bad_request("the request target is not valid\n"))
}

/// Parses a host and an optional port, without user information: `uri-host [ ":" port ]`.
fn authority(text: &[u8]) -> Option<Authority> {
    let text = std::str::from_utf8(text).ok()?;
    let (is_host, port) = if let Some(rest) = text.strip_prefix('[') {
        let (address, port) = rest.split_once(']')?;
        (address.parse::<Ipv6Addr>().is_ok(), port)
    } else {
        let (host, port) = text.split_at(text.find(':').unwrap_or(text.len()));
        (is_reg_name(host), port)
    };
    let is_number = |digits: &str| {
        digits.bytes().all(|byte| byte.is_ascii_digit()) && digits.parse::<u16>().is_ok()
    };
    let is_port = matches!(port, "" | ":") || port.strip_prefix(':').is_some_and(is_number);
    let text = text.strip_suffix(':').unwrap_or(text);
    (is_host && is_port).then(|| text.parse().ok()).flatten()
}

/// Returns whether the text is a name or an IPv4 address (RFC 3986, 3.2.2). An empty text is refused, because an http URI must have a host.
fn is_reg_name(text: &str) -> bool {
    let is_unescaped =
        |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=".contains(&byte);
    let mut parts = text.split('%');
    let before = parts.next().unwrap_or_default();
    let is_valid = before.bytes().all(is_unescaped)
        && parts.all(|part| {
            let digits = part.as_bytes().first_chunk::<2>();
            let is_escape = digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit));
            is_escape && part.bytes().all(is_unescaped)
        });
    is_valid && !text.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(
        method: &str,
        target_text: &str,
        version: Version,
        hosts: &[&str],
    ) -> Result<Target, Refusal> {
        let mut request = Request::builder()
            .method(method)
            .uri(target_text)
            .version(version);
        for host in hosts {
            request = request.header(
                HOST,
                http::HeaderValue::from_bytes(host.as_bytes()).unwrap(),
            );
        }
        let local = "127.0.0.1:3000".parse().unwrap();
        target(&request.body(()).unwrap(), local)
    }

    fn address(target: &str, version: Version, hosts: &[&str]) -> Option<String> {
        match of("GET", target, version, hosts) {
            Ok(Target::Resource(uri)) => Some(uri.to_string()),
            Ok(Target::Server) => panic!("{target}"),
            Err((status, _)) => {
                assert_eq!(status, StatusCode::BAD_REQUEST);
                None
            }
        }
    }

    #[test]
    fn a_valid_host_is_accepted() {
        for (host, expected) in [
            ("a", "a"),
            ("example.com:81", "example.com:81"),
            ("example.com:", "example.com"),
            ("EXAMPLE.com", "EXAMPLE.com"),
            ("127.0.0.1:3000", "127.0.0.1:3000"),
            ("[::1]", "[::1]"),
            ("[::1]:8080", "[::1]:8080"),
            ("a_b.example", "a_b.example"),
            ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ] {
            let found = address("/x?y", Version::HTTP_11, &[host]);
            assert_eq!(found, Some(format!("http://{expected}/x?y")), "{host}");
        }
    }

    #[test]
    fn a_host_that_is_missing_repeated_or_invalid_is_refused() {
        for hosts in [
            &[][..],
            &["a", "a"],
            &["a", "b"],
            &[""],
            &["user@a"],
            &["user:password@a"],
            &["a:abc"],
            &["a:80:80"],
            &["a:65536"],
            &["a:-1"],
            &["a:+80"],
            &[":80"],
            &["a b"],
            &["a,b"][..0],
            &["a/b"],
            &["a?b"],
            &["a#b"],
            &["http://a"],
            &["b\u{fc}cher.example"],
            &["a\\b"],
            &["a%zz"],
            &["[::1"],
            &["[::1]80"],
            &["[::1%25eth0]"],
            &["[v1.a]"],
            &["::1"],
            &["<a>"],
        ] {
            assert_eq!(address("/", Version::HTTP_11, hosts), None, "{hosts:?}");
        }
    }

    #[test]
    fn http_1_0_needs_no_host() {
        let local = Some("http://127.0.0.1:3000/".to_owned());
        assert_eq!(address("/", Version::HTTP_10, &[]), local);
        assert_eq!(address("/", Version::HTTP_10, &["a", "a"]), None);
        assert_eq!(address("/", Version::HTTP_10, &["user@a"]), None);
        assert_eq!(address("/", Version::HTTP_10, &[""]), None);
    }

    #[test]
    fn the_authority_of_an_absolute_target_replaces_the_host() {
        let found = |target, host: &str| address(target, Version::HTTP_11, &[host]);
        assert_eq!(
            found("http://a:81/x", "b").as_deref(),
            Some("http://a:81/x")
        );
        assert_eq!(found("http://a", "a").as_deref(), Some("http://a/"));
        assert_eq!(found("https://a/x", "").as_deref(), Some("http://a/x"));
        for (target, host) in [
            ("http://user@a/", "a"),
            ("http://a:99999/", "a"),
            ("ftp://a/", "a"),
            ("http://a/", "user@b"),
            ("a:80", "a"),
        ] {
            assert_eq!(found(target, host), None, "{target} {host}");
        }
        assert_eq!(address("http://a/", Version::HTTP_11, &[]), None);
    }

    #[test]
    fn only_options_accepts_the_asterisk_target() {
        for host in ["a", ""] {
            let found = of("OPTIONS", "*", Version::HTTP_11, &[host]);
            assert_eq!(found, Ok(Target::Server));
        }
        let status = |method, target| of(method, target, Version::HTTP_11, &["a"]).unwrap_err().0;
        assert_eq!(status("GET", "*"), StatusCode::BAD_REQUEST);
        assert_eq!(status("CONNECT", "a:80"), StatusCode::NOT_IMPLEMENTED);
        assert!(of("OPTIONS", "*", Version::HTTP_11, &[]).is_err());
    }
}
