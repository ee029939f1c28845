//! Access control: API and admin tokens, requests from web pages of other origins, and security headers for browsers.

use http::{Method, Request, StatusCode};
use http_body_util::Full;
use support::contract::operations;
use support::{Answer, Database, Edge};

const API: &str = "an-api-token-of-25-letters";
const ADMIN: &str = "an-admin-token-of-27-letters";
const ANYONES: [&str; 4] = [
    "/api/health",
    "/api/health/ready",
    "/api/docs",
    "/performance",
];
const PAGES: [&str; 2] = ["/api/docs", "/performance"];
const ADMINS: [&str; 2] = ["/api/performance/database", "/api/performance/metrics"];
const NOBODY: &str = "00000000-0000-0000-0000-000000000000";

async fn ask(edge: &Edge, method: &Method, path: &str, headers: &[(&str, &str)]) -> Answer {
    let mut request = Request::builder()
        .method(method)
        .uri(format!("{}{path}", edge.url()));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    edge.send(request.body(Full::default()).expect("the request is valid"))
        .await
}

async fn get_as(edge: &Edge, path: &str, token: &str) -> Answer {
    let bearer = format!("Bearer {token}");
    ask(edge, &Method::GET, path, &[("authorization", &bearer)]).await
}

#[tokio::test]
async fn only_public_routes_are_served_without_a_token() {
    let database = Database::migrated().await;
    let variables = [("api_token", API), ("admin_token", ADMIN)];
    let edge = Edge::start_with(&database, &variables, &[]).await;
    let mut count = 0;
    for operation in operations() {
        let path = operation.path_with(NOBODY);
        for token in [
            "",
            "an-api-token-of-25-letter",
            "An-api-token-of-25-letters",
        ] {
            let bearer = format!("Bearer {token}");
            let answer = ask(
                &edge,
                &operation.method,
                &path,
                &[("authorization", &bearer)],
            )
            .await;
            if ANYONES.contains(&operation.path.as_str()) {
                assert_eq!(answer.status, StatusCode::OK, "{path}");
            } else {
                assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{path}");
                assert_eq!(answer.header("www-authenticate"), "Bearer");
                assert_eq!(answer.query_count(), 0, "{path}");
                count += 1;
            }
        }
    }
    assert!(count > 90, "only {count} refusals");
    let log = edge.log();
    assert!(!log.contains("letters"), "a token in the log:\n{log}");
}

#[tokio::test]
async fn api_and_admin_tokens_open_their_routes_with_no_store() {
    let database = Database::migrated().await;
    let both = format!("{API} another-token-while-it-is-replaced");
    let variables = [("api_token", both.as_str()), ("admin_token", ADMIN)];
    let edge = Edge::start_with(&database, &variables, &[]).await;
    for token in [API, "another-token-while-it-is-replaced", ADMIN] {
        let answer = get_as(&edge, "/api/agents", token).await;
        assert_eq!(answer.status, StatusCode::OK, "{token}");
        assert_eq!(answer.header("cache-control"), "no-store");
    }
    for path in ADMINS {
        let refused = get_as(&edge, path, API).await;
        assert_eq!(refused.status, StatusCode::UNAUTHORIZED, "{path}");
        let answer = get_as(&edge, path, ADMIN).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}");
        assert_eq!(answer.header("cache-control"), "no-store");
    }
}

#[tokio::test]
async fn api_is_open_if_only_the_admin_token_is_set() {
    let database = Database::migrated().await;
    let edge = Edge::start_with(&database, &[("admin_token", ADMIN)], &[]).await;
    assert_eq!(edge.get("/api/agents").await.status, StatusCode::OK);
    let refused = edge.get("/api/performance/database").await;
    assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn only_pages_of_the_configured_origins_may_read() {
    const PAGE: &str = "https://app.example.com";
    let database = Database::migrated().await;
    let origins = format!("{PAGE} http://localhost:5173");
    let edge = Edge::start_with(&database, &[("cors_origins", &origins)], &[]).await;
    let answer = ask(&edge, &Method::GET, "/api/agents", &[("origin", PAGE)]).await;
    assert_eq!(answer.header("access-control-allow-origin"), PAGE);
    assert_eq!(answer.header("timing-allow-origin"), PAGE);
    let exposed = answer.header("access-control-expose-headers");
    for name in ["x-query-count", "x-query-time", "server-timing", "link"] {
        assert!(exposed.contains(name), "{exposed}");
    }
    assert!(answer.header("vary").contains("origin"));
    // Error responses have the CORS header too, so that a page can read them.
    let error = ask(&edge, &Method::GET, "/api/nothing", &[("origin", PAGE)]).await;
    assert_eq!(error.header("access-control-allow-origin"), PAGE);

    let preflight = [
        ("origin", PAGE),
        ("access-control-request-method", "PATCH"),
        (
            "access-control-request-headers",
            "authorization,idempotency-key",
        ),
    ];
    let answer = ask(&edge, &Method::OPTIONS, "/api/agents", &preflight).await;
    assert_eq!(answer.status, StatusCode::NO_CONTENT);
    assert_eq!(answer.header("access-control-allow-origin"), PAGE);
    assert!(
        answer
            .header("access-control-allow-methods")
            .contains("PATCH")
    );
    let allowed = answer.header("access-control-allow-headers");
    assert!(allowed.contains("authorization") && allowed.contains("idempotency-key"));

    for stranger in [
        "https://app.example.com.evil.example",
        "http://app.example.com",
        "null",
    ] {
        let answer = ask(&edge, &Method::GET, "/api/agents", &[("origin", stranger)]).await;
        assert!(
            !answer.headers.contains_key("access-control-allow-origin"),
            "{answer:?}"
        );
        assert!(!answer.headers.contains_key("timing-allow-origin"));
    }
}

#[tokio::test]
async fn every_response_varies_by_origin_where_origins_are_configured() {
    const PAGE: &str = "https://app.example.com";
    let database = Database::migrated().await;
    let variables = [("cors_origins", PAGE), ("api_token", API)];
    let edge = Edge::start_with(&database, &variables, &[]).await;
    let bearer = format!("Bearer {API}");
    let token = ("authorization", bearer.as_str());
    let tag = ask(&edge, &Method::GET, "/api/agents", &[token]).await;
    let tag = tag.header("etag").to_owned();
    let mut seen = Vec::new();
    for origin in [
        None,
        Some(PAGE),
        Some("https://other.example"),
        Some("null"),
    ] {
        let origin = origin.map(|origin| ("origin", origin));
        for (method, path, headers) in [
            (Method::GET, "/api/agents", &[token][..]),
            (Method::HEAD, "/api/agents", &[token]),
            (Method::GET, "/api/agents", &[]),
            (
                Method::GET,
                "/api/agents",
                &[token, ("if-none-match", &tag)],
            ),
            (Method::GET, "/api/agents?bogus=1", &[token]),
            (Method::POST, "/api/agents", &[token]),
            (Method::PUT, "/api/agents", &[token]),
            (Method::GET, "/api/nothing", &[]),
            (Method::GET, "/api/health", &[]),
            (Method::GET, "/performance", &[]),
            (Method::OPTIONS, "/api/agents", &[]),
            (
                Method::OPTIONS,
                "/api/agents",
                &[("access-control-request-method", "PATCH")],
            ),
        ] {
            let headers: Vec<_> = headers.iter().copied().chain(origin).collect();
            let answer = ask(&edge, &method, path, &headers).await;
            let vary: Vec<_> = answer.headers.get_all("vary").iter().collect();
            assert_eq!(vary.len(), 1, "{method} {path} {headers:?}: {answer:?}");
            assert!(answer.header("vary").starts_with("origin"), "{answer:?}");
            seen.push(answer.status.as_u16());
        }
    }
    for status in [200, 204, 304, 401, 404, 405, 415, 422] {
        assert!(seen.contains(&status), "no {status}: {seen:?}");
    }
}

#[tokio::test]
async fn a_preflight_allows_every_header_it_asks_for() {
    const PAGE: &str = "https://app.example.com";
    let database = Database::migrated().await;
    let edge = Edge::start_with(&database, &[("cors_origins", PAGE)], &[]).await;
    let preflight = async |origin: &str, headers: &str| {
        let headers = [
            ("origin", origin),
            ("access-control-request-method", "POST"),
            ("access-control-request-headers", headers),
        ];
        ask(&edge, &Method::OPTIONS, "/api/agents", &headers).await
    };
    for headers in [
        "authorization,content-type,idempotency-key,if-match,if-none-match,x-profile,x-written",
        "baggage,traceparent,tracestate",
        "sentry-trace",
        "b3,x-b3-traceid",
        "x-request-id",
        "x-requested-with",
        "accept-language,cache-control",
    ] {
        let answer = preflight(PAGE, headers).await;
        assert_eq!(answer.status, StatusCode::NO_CONTENT);
        assert_eq!(answer.header("access-control-allow-headers"), headers);
        assert_eq!(answer.header("access-control-allow-origin"), PAGE);
        // Without Access-Control-Allow-Credentials, a browser doesn't let a page of another origin read the response to a request with cookies.
        assert!(
            !answer
                .headers
                .contains_key("access-control-allow-credentials")
        );
        let answer = preflight("https://other.example", headers).await;
        assert!(!answer.headers.contains_key("access-control-allow-origin"));
    }
    // Without the header Access-Control-Request-Method, an OPTIONS request isn't a CORS preflight, so the API answers with Allow.
    let answer = ask(&edge, &Method::OPTIONS, "/api/agents", &[("origin", PAGE)]).await;
    assert_eq!(answer.status, StatusCode::NO_CONTENT);
    assert!(answer.header("allow").contains("POST"), "{answer:?}");
}

#[tokio::test]
async fn authorization_header_is_parsed_by_http_syntax() {
    let database = Database::migrated().await;
    let variables = [("api_token", API), ("admin_token", ADMIN)];
    let edge = Edge::start_with(&database, &variables, &[]).await;
    for value in [
        format!("Bearer {API}"),
        format!("bearer {API}"),
        format!("BEARER  {API}"),
        format!("Bearer     {API}  "),
        format!("Bearer {ADMIN}"),
    ] {
        let headers = [("authorization", value.as_str())];
        let answer = ask(&edge, &Method::GET, "/api/agents", &headers).await;
        assert_eq!(answer.status, StatusCode::OK, "{value}");
    }
    for value in [
        format!("Bearer\t{API}"),
        format!("Bearer{API}"),
        format!("Bearer {API} {ADMIN}"),
        format!("Bearer {API}, Bearer {API}"),
        format!("Bearer token=\"{API}\""),
        format!("Basic {API}"),
        "Bearer".to_owned(),
    ] {
        let headers = [("authorization", value.as_str())];
        let answer = ask(&edge, &Method::GET, "/api/agents", &headers).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{value}");
        assert_eq!(answer.header("www-authenticate"), "Bearer");
    }
    let value = format!("Bearer {API}");
    let twice = [("authorization", value.as_str()); 2];
    let answer = ask(&edge, &Method::GET, "/api/agents", &twice).await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn no_cors_headers_are_sent_without_configured_origins() {
    let database = Database::migrated().await;
    let edge = Edge::start(&database).await;
    for method in [Method::GET, Method::OPTIONS] {
        let origin = [("origin", "https://app.example.com")];
        let answer = ask(&edge, &method, "/api/agents", &origin).await;
        let mut names = answer.headers.keys();
        assert!(
            !names.any(|name| name.as_str().starts_with("access-control")),
            "{answer:?}"
        );
        assert!(!answer.headers.contains_key("vary"), "{answer:?}");
    }
}

#[tokio::test]
async fn responses_set_nosniff_and_errors_set_no_store() {
    let database = Database::migrated().await;
    let edge = Edge::start(&database).await;
    for path in [
        "/api/agents",
        "/api/nothing",
        "/api/docs",
        "/performance",
        "/api/openapi.json",
    ] {
        let answer = edge.get(path).await;
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
    }
    let error = edge.get("/api/nothing").await;
    assert_eq!(error.header("cache-control"), "no-store");
}

#[tokio::test]
async fn pages_are_public_have_a_csp_and_run_no_query() {
    let database = Database::migrated().await;
    let variables = [("api_token", API), ("admin_token", ADMIN)];
    let edge = Edge::start_with(&database, &variables, &[]).await;
    // These pages need no token, because they contain no data. Their scripts request the data with the token that the user enters.
    for path in PAGES {
        let answer = edge.get(path).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        assert_eq!(answer.query_count(), 0, "{path}");
        assert_eq!(answer.header("content-type"), "text/html; charset=utf-8");
        assert_eq!(answer.header("cache-control"), "no-cache");
        let policy = answer.header("content-security-policy");
        assert!(policy.starts_with("default-src 'none'; "), "{policy}");
        assert!(!policy.contains("unsafe"), "{policy}");
    }
}

/// Headers that a browser adds if a page of another origin sends a write. If the API is neither on HTTPS nor on a loopback address, the
/// browser omits the `Sec-Fetch` headers, and adds only `Origin`.
const FOREIGN_PAGES: [&[(&str, &str)]; 6] = [
    &[
        ("origin", "https://evil.example"),
        ("sec-fetch-site", "cross-site"),
    ],
    &[("origin", "https://evil.example")],
    &[("sec-fetch-site", "cross-site")],
    &[
        ("origin", "http://localhost:5173"),
        ("sec-fetch-site", "same-site"),
    ],
    &[("origin", "null"), ("sec-fetch-site", "cross-site")],
    &[
        ("origin", "https://app.example.com.evil.example"),
        ("sec-fetch-site", "cross-site"),
    ],
];

#[tokio::test]
async fn pages_of_other_origins_may_not_write() {
    let database = Database::migrated().await;
    let closed = [
        ("api_token", API),
        ("cors_origins", "https://app.example.com:443"),
    ];
    let bearer = format!("Bearer {API}");
    for variables in [&[][..], &closed] {
        let edge = Edge::start_with(&database, variables, &[]).await;
        let token = (!variables.is_empty()).then_some(("authorization", bearer.as_str()));
        let with = |page: &[(&'static str, &'static str)]| -> Vec<_> {
            page.iter().copied().chain(token).collect()
        };
        for operation in operations() {
            let path = operation.path_with(NOBODY);
            // A GET of dm-channel counts as a write, because the GET creates the channel if there is none.
            let is_write =
                operation.method != Method::GET || operation.path.ends_with("/dm-channel");
            for page in FOREIGN_PAGES {
                let answer = ask(&edge, &operation.method, &path, &with(page)).await;
                let what = format!("{} {path} {page:?}: {answer:?}", operation.method);
                assert_eq!(answer.status == StatusCode::FORBIDDEN, is_write, "{what}");
                if is_write {
                    assert_eq!(answer.query_count(), 0, "{what}");
                    let detail = answer.json()["detail"].to_string();
                    assert!(detail.contains("the variable cors_origins"), "{what}");
                }
            }
            // Programs and pages of the API's own origin send these headers. With the last set, a proxy has replaced the Host header.
            let own_origin = edge.url();
            for page in [
                &[][..],
                &[("sec-fetch-site", "same-origin")],
                &[("sec-fetch-site", "none")],
                &[("origin", own_origin.as_str())],
                &[
                    ("origin", "https://api.example.com"),
                    ("sec-fetch-site", "same-origin"),
                ],
            ] {
                let headers: Vec<_> = page.iter().copied().chain(token).collect();
                let answer = ask(&edge, &operation.method, &path, &headers).await;
                assert_ne!(answer.status, StatusCode::FORBIDDEN, "{path} {page:?}");
            }
            let trusted = with(&[
                ("origin", "https://app.example.com"),
                ("sec-fetch-site", "cross-site"),
            ]);
            let answer = ask(&edge, &operation.method, &path, &trusted).await;
            let is_refused = is_write && variables.is_empty();
            assert_eq!(
                answer.status == StatusCode::FORBIDDEN,
                is_refused,
                "{answer:?}"
            );
        }
    }
}

#[tokio::test]
async fn a_page_of_another_origin_neither_clears_a_channel_nor_starts_a_workflow() {
    let database = Database::migrated().await;
    let edge = Edge::start(&database).await;
    let channel = crate::channel(&edge, "general").await;
    let messages = format!("/api/channels/{channel}/messages");
    edge.post(&messages, &serde_json::json!({"content": "x"}))
        .await;
    let workflow = serde_json::json!({"description": "x", "tasks": [{"description": "x"}]});
    let workflow = edge.post("/api/workflows", &workflow).await.json();
    let workflow = format!("/api/workflows/{}", crate::text(&workflow, "id"));
    for page in FOREIGN_PAGES {
        for path in [
            format!("/api/channels/{channel}/clear"),
            format!("{workflow}/start"),
        ] {
            let answer = ask(&edge, &Method::POST, &path, page).await;
            assert_eq!(answer.status, StatusCode::FORBIDDEN, "{answer:?}");
        }
    }
    assert_eq!(
        edge.get(&messages).await.json().as_array().unwrap().len(),
        1
    );
    let status = edge.get(&workflow).await.json()["status"].clone();
    assert_eq!(status, "pending");
}

const FOREIGN_HOSTS: [&str; 4] = [
    "evil.example",
    "evil.example:3000",
    "10.0.0.1.nip.io:3000",
    "localhost.evil.example",
];

#[tokio::test]
async fn without_api_token_only_known_host_names_are_served() {
    let database = Database::migrated().await;
    let variables = [("allowed_hosts", "API.example.com reznet-edge.reznet")];
    let edge = Edge::start_with(&database, &variables, &[]).await;
    for operation in operations() {
        let path = operation.path_with(NOBODY);
        let is_open = ANYONES.contains(&operation.path.as_str());
        for host in FOREIGN_HOSTS {
            let answer = ask(&edge, &operation.method, &path, &[("host", host)]).await;
            if is_open {
                assert_eq!(answer.status, StatusCode::OK, "{host} {path}: {answer:?}");
            } else {
                assert_eq!(answer.status, StatusCode::FORBIDDEN, "{host} {path}");
                assert_eq!(answer.query_count(), 0, "{host} {path}");
                let detail = answer.json()["detail"].to_string();
                assert!(
                    detail.contains(host) && detail.contains("the variable allowed_hosts"),
                    "{detail}"
                );
            }
        }
        for host in [
            "localhost",
            "app.localhost:3000",
            "[::1]:3000",
            "10.42.0.17",
            "api.example.com:8443",
            "reznet-edge.reznet",
        ] {
            let answer = ask(&edge, &operation.method, &path, &[("host", host)]).await;
            assert_ne!(answer.status, StatusCode::FORBIDDEN, "{host} {path}");
        }
    }
}

#[tokio::test]
async fn with_api_token_any_host_name_is_served() {
    let database = Database::migrated().await;
    let edge = Edge::start_with(&database, &[("api_token", API)], &[]).await;
    let bearer = format!("Bearer {API}");
    for host in FOREIGN_HOSTS {
        let token = [("host", host), ("authorization", bearer.as_str())];
        let answer = ask(&edge, &Method::GET, "/api/agents", &token).await;
        assert_eq!(answer.status, StatusCode::OK, "{host}");
        let answer = ask(&edge, &Method::GET, "/api/agents", &token[..1]).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{host}");
    }
    // Without an API token, or with one of white space only, anyone can use the API. So the component must check the Host header.
    for variables in [[("admin_token", ADMIN)], [("api_token", " \n")]] {
        let edge = Edge::start_with(&database, &variables, &[]).await;
        let foreign = [("host", FOREIGN_HOSTS[0])];
        let answer = ask(&edge, &Method::GET, "/api/agents", &foreign).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{variables:?}");
    }
}
