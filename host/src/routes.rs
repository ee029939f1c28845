//! Finds the component for a path, and sets the request headers that Spin sets. The module does no I/O.

use std::net::SocketAddr;

use anyhow::{Result, ensure};
use http::{HeaderValue, Request};

use crate::manifest::HttpTrigger;

/// One route of the manifest.
#[derive(Debug)]
pub struct Route {
    /// The route as written in the manifest.
    pub raw: String,
    /// The component's id.
    pub component: String,
    /// The path, or the path before the wildcard, without a slash at the end.
    prefix: String,
    wildcard: bool,
}

/// All routes, the most specific first.
#[derive(Debug)]
pub struct Routes(pub Vec<Route>);

impl Routes {
    /// Checks and sorts the manifest's routes.
    pub fn new(triggers: &[HttpTrigger]) -> Result<Self> {
        let mut routes = Vec::<Route>::new();
        for trigger in triggers {
            let raw = trigger.route.clone();
            ensure!(raw.starts_with('/'), "route {raw:?} doesn't start with /");
            let prefix = raw.strip_suffix("/...").unwrap_or(&raw).to_owned();
            let wildcard = prefix.len() < raw.len();
            ensure!(
                !prefix.contains("/:") && !prefix.contains("/*") && !prefix.contains("/..."),
                "route {raw:?}: this host knows exact routes and a wildcard /... at the end; run others with Spin"
            );
            let prefix = prefix.trim_end_matches('/').to_owned();
            ensure!(
                !routes
                    .iter()
                    .any(|other| other.prefix == prefix && other.wildcard == wildcard),
                "the manifest has the route {raw:?} twice; keep one"
            );
            routes.push(Route {
                raw,
                component: trigger.component.clone(),
                prefix,
                wildcard,
            });
        }
        routes.sort_by_key(|route| (route.wildcard, std::cmp::Reverse(route.prefix.len())));
        Ok(Self(routes))
    }

    /// Returns the route for a path. Exact routes precede wildcards, and longer wildcards precede shorter ones.
    pub fn find(&self, path: &str) -> Option<&Route> {
        self.0
            .iter()
            .find(|route| match path.strip_prefix(route.prefix.as_str()) {
                Some("" | "/") => true,
                Some(rest) => route.wildcard && rest.starts_with('/'),
                None => false,
            })
    }
}

impl Route {
    /// Sets Spin's headers, which replace headers with the same names from the client.
    pub fn set_headers<B>(&self, request: &mut Request<B>, client: SocketAddr) {
        let uri = request.uri();
        let raw = self.raw.as_str();
        let without_wildcard = raw.strip_suffix("/...").unwrap_or(raw);
        let path_info = if self.wildcard {
            &uri.path()[self.prefix.len()..]
        } else {
            ""
        };
        let headers = [
            ("spin-path-info", path_info.to_owned()),
            ("spin-full-url", uri.to_string()),
            ("spin-matched-route", raw.trim_end_matches('/').to_owned()),
            ("spin-base-path", "/".to_owned()),
            ("spin-raw-component-route", raw.to_owned()),
            ("spin-component-route", without_wildcard.to_owned()),
            ("spin-client-addr", client.to_string()),
        ];
        for (name, value) in headers {
            // A URI and a route contain visible ASCII or UTF-8, which are valid bytes for a header.
            if let Ok(value) = HeaderValue::from_bytes(value.as_bytes()) {
                request.headers_mut().insert(name, value);
            }
        }
        // Sets Host to the authority of the request's full URI. If the request target is absolute, this authority replaces the client's Host.
        if let Some(authority) = request.uri().authority()
            && let Ok(host) = HeaderValue::from_str(authority.as_str())
        {
            request.headers_mut().insert(http::header::HOST, host);
        }
        // The Connection header applies only to the client's connection, which ends at the host.
        request.headers_mut().remove(http::header::CONNECTION);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn routes(list: &[&str]) -> Result<Routes> {
        let triggers: Vec<HttpTrigger> = list
            .iter()
            .map(|route| toml::from_str(&format!("route = {route:?}\ncomponent = \"c\"")).unwrap())
            .collect();
        Routes::new(&triggers)
    }

    #[test]
    fn exact_routes_precede_wildcards_and_longer_precede_shorter() {
        let routes = routes(&["/...", "/a/...", "/a/b", "/a/b/c/..."]).unwrap();
        let found = |path| routes.find(path).unwrap().raw.as_str();
        assert_eq!(found("/"), "/...");
        assert_eq!(found("/ab"), "/...");
        assert_eq!(found("/a"), "/a/...");
        assert_eq!(found("/a/b"), "/a/b");
        assert_eq!(found("/a/b/"), "/a/b");
        assert_eq!(found("/a/b/x"), "/a/...");
        assert_eq!(found("/a/b/c/d"), "/a/b/c/...");
    }

    #[test]
    fn an_unmatched_path_has_no_route() {
        let routes = routes(&["/a", "/"]).unwrap();
        assert!(routes.find("/b").is_none());
        assert!(routes.find("/a/b").is_none());
        assert!(routes.find("/").is_some());
    }

    #[test]
    fn unsupported_and_duplicate_routes_are_errors() {
        assert!(routes(&["/a/:id"]).is_err());
        assert!(routes(&["a"]).is_err());
        assert!(routes(&["/a", "/a/"]).is_err());
    }

    #[test]
    fn spin_headers_are_set_and_replace_those_of_the_client() {
        let routes = routes(&["/foo/..."]).unwrap();
        let mut request = Request::get("http://example.com:81/foo/bar?k=v")
            .header("host", "other.example")
            .header("connection", "close")
            .header("spin-client-addr", "forged")
            .header("spin-client-addr", "forged twice")
            .body(())
            .unwrap();
        routes
            .find("/foo/bar")
            .unwrap()
            .set_headers(&mut request, "127.0.0.1:8777".parse().unwrap());
        for (name, value) in [
            ("spin-full-url", "http://example.com:81/foo/bar?k=v"),
            ("spin-path-info", "/bar"),
            ("spin-matched-route", "/foo/..."),
            ("spin-base-path", "/"),
            ("spin-raw-component-route", "/foo/..."),
            ("spin-component-route", "/foo"),
            ("spin-client-addr", "127.0.0.1:8777"),
            ("host", "example.com:81"),
        ] {
            let values: Vec<_> = request.headers().get_all(name).iter().collect();
            assert_eq!(values, [value], "{name}");
        }
        assert!(!request.headers().contains_key("connection"));
    }
}
