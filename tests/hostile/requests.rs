//! Random requests, composed of valid and invalid parts. No request may end in a 5xx, cause a trap, or stay unanswered.
//!
//! `REZNET_TEST_REQUESTS` sets the number of requests, by default 20,000. `REZNET_TEST_SEED` sets the seed, which is random by default
//! and is printed. After changes to request parsing, run a few hundred thousand requests, because they find more errors.

use std::collections::BTreeMap;
use std::env::var;
use std::time::Instant;

use futures_util::future::join_all;
use http::{Method, Request};
use http_body_util::Full;
use hyper::body::Bytes;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use support::contract::{Operation, operations};
use support::{Database, Edge};

use crate::values::{INJECTIONS, ODD};
use crate::{MOST_BODY_BYTES, Rows, percent_encoded, send};

const CLIENTS: u64 = 12;

fn number(variable: &str) -> Option<u64> {
    let text = var(variable).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{variable} is \"{text}\": set it to a whole number")),
    )
}

#[tokio::test]
async fn random_requests_never_get_a_server_error() {
    let count = number("REZNET_TEST_REQUESTS").unwrap_or(20_000);
    let seed = number("REZNET_TEST_SEED").unwrap_or_else(rand::random);
    println!("{count} requests, REZNET_TEST_SEED={seed}");
    let database = Database::migrated().await;
    let edge = Edge::start(&database).await;
    let rows = Rows::create(&edge).await;
    let operations = operations();
    let clients = (0..CLIENTS).map(|n| {
        let mut maker = Maker {
            url: edge.url(),
            rows: &rows,
            operations: &operations,
            dice: StdRng::seed_from_u64(seed.wrapping_add(n)),
        };
        let edge = &edge;
        async move {
            let mut statuses = BTreeMap::new();
            for done in 0..count.div_ceil(CLIENTS) {
                let (request, what) = maker.request();
                let status = send(edge, request, &what).await;
                *statuses.entry(status).or_insert(0_u64) += 1;
                if n == 0 && done % 10_000 == 9_999 {
                    println!("{} of {count}", done * CLIENTS);
                }
            }
            statuses
        }
    });
    let clock = Instant::now();
    let mut statuses = BTreeMap::new();
    for (status, count) in join_all(clients).await.into_iter().flatten() {
        *statuses.entry(status).or_insert(0) += count;
    }
    println!("in {} s: {statuses:?}", clock.elapsed().as_secs());
    for expected in [200, 201, 400, 404, 405, 409, 413, 415, 422] {
        assert!(
            statuses.contains_key(&expected),
            "no request got {expected}, so the generated requests aren't varied enough"
        );
    }
    let log = edge.log();
    for bad in ["error: ", "panicked", "ERROR - INTERNAL"] {
        let line = log.lines().find(|line| line.contains(bad));
        assert_eq!(line, None);
    }
    assert_eq!(edge.get("/api/health/ready").await.status, 200);
}

/// Generates random requests.
struct Maker<'a> {
    url: String,
    rows: &'a Rows,
    operations: &'a [Operation],
    dice: StdRng,
}

impl<'a> Maker<'a> {
    fn one_in(&mut self, n: u32) -> bool {
        self.dice.random_ratio(1, n)
    }

    fn any_operation(&mut self) -> &'a Operation {
        self.operations
            .choose(&mut self.dice)
            .expect("the list isn't empty")
    }

    /// Returns a request, and a text that describes it.
    fn request(&mut self) -> (Request<Full<Bytes>>, String) {
        let mut operation = self.any_operation();
        if operation.id == "performance_database" && !self.one_in(100) {
            // Requests the performance report rarely, because it aggregates all measurements. If it were as frequent as other operations,
            // most of the database's work would be for reports.
            operation = self.any_operation();
        }
        let mut method = operation.method.clone();
        if self.one_in(20) {
            let methods = [
                "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW",
            ];
            let text = methods
                .choose(&mut self.dice)
                .expect("the list isn't empty");
            method = Method::from_bytes(text.as_bytes()).expect("the text is a method");
        }
        let path = self.path(operation);
        let query = self.query(operation);
        let body = self.body(operation);
        let mut what = format!("{method} {path}{query}");
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}{query}", self.url));
        for (name, value) in self.headers(body.is_some()) {
            what.extend(["\n", name, ": "]);
            what.extend(value.escape_debug());
            request = request.header(name, value);
        }
        let body = body.unwrap_or_default();
        what.extend(["\n\n", &String::from_utf8_lossy(&body)]);
        match request.body(Full::from(body)) {
            Ok(request) => (request, what),
            // No client can send this header or URI, so another request is generated.
            Err(_) => self.request(),
        }
    }

    fn text(&mut self) -> String {
        match self.dice.random_range(0..10) {
            0..4 => (*ODD.choose(&mut self.dice).expect("the list isn't empty")).to_owned(),
            4..7 => (*INJECTIONS
                .choose(&mut self.dice)
                .expect("the list isn't empty"))
            .to_owned(),
            7 => {
                let at = self.dice.random_range(0..self.rows.0.len());
                self.rows.0.values().nth(at).cloned().unwrap_or_default()
            }
            8 => {
                let length = self.dice.random_range(1..300);
                (0..length).map(|_| self.dice.random::<char>()).collect()
            }
            _ => {
                let length = [50, 51, 100, 101, 500, 501, 10_000, 10_001, 100_000, 100_001]
                    .choose(&mut self.dice);
                "a".repeat(*length.expect("the list isn't empty"))
            }
        }
    }

    /// Returns a text that is short enough for a path, a query or a header.
    fn short_text(&mut self) -> String {
        self.text().chars().take(600).collect()
    }

    fn path(&mut self, operation: &Operation) -> String {
        if self.one_in(40) {
            let segments: Vec<_> = (0..self.dice.random_range(1..6))
                .map(|_| percent_encoded(&self.short_text()))
                .collect();
            return format!("/{}", segments.join("/"));
        }
        let mut path = String::new();
        for segment in operation.path.split('/').skip(1) {
            path.push('/');
            match segment
                .strip_prefix('{')
                .and_then(|name| name.strip_suffix('}'))
            {
                Some(name) if !self.one_in(4) => path += self.rows.in_path(operation, name),
                Some(_) => path += &percent_encoded(&self.short_text()),
                None => path += segment,
            }
        }
        if self.one_in(50) {
            path.push('/');
        }
        path
    }

    fn query(&mut self, operation: &Operation) -> String {
        let mut pairs = Vec::new();
        for parameter in operation.described["parameters"]
            .as_array()
            .into_iter()
            .flatten()
        {
            if parameter["in"] != "query" || !self.one_in(3) {
                continue;
            }
            let name = parameter["name"].as_str().unwrap_or_default();
            let words = parameter["schema"]["enum"].as_array();
            let fitting = match words.and_then(|words| words.choose(&mut self.dice)) {
                Some(word) => word.as_str().unwrap_or_default().to_owned(),
                None => self.dice.random_range(0..250).to_string(),
            };
            let value = if self.one_in(2) {
                fitting
            } else {
                self.short_text()
            };
            pairs.push(format!("{name}={}", percent_encoded(&value)));
            if self.one_in(20) {
                pairs.push(pairs[pairs.len() - 1].clone());
            }
        }
        if self.one_in(15) {
            let (name, value) = (self.short_text(), self.short_text());
            pairs.push(format!(
                "{}={}",
                percent_encoded(&name),
                percent_encoded(&value)
            ));
        }
        if self.one_in(30) {
            pairs.push(
                ["&&=&", "%", "%ff%fe", "a=b=c", "?", ";limit=1"]
                    .choose(&mut self.dice)
                    .expect("the list isn't empty")
                    .to_string(),
            );
        }
        if pairs.is_empty() {
            String::new()
        } else {
            format!("?{}", pairs.join("&"))
        }
    }

    fn headers(&mut self, has_body: bool) -> Vec<(&'static str, String)> {
        let mut headers = Vec::new();
        if has_body && !self.one_in(30) {
            headers.push(("content-type", "application/json".to_owned()));
        } else if has_body {
            let types = [
                "text/plain",
                "application/json; charset=utf-16",
                "application/jsonx",
                "",
                "multipart/form-data",
            ];
            headers.push((
                "content-type",
                (*types.choose(&mut self.dice).expect("the list isn't empty")).to_owned(),
            ));
        }
        for name in [
            "idempotency-key",
            "traceparent",
            "authorization",
            "origin",
            "x-profile",
            "accept",
            "host",
            "cookie",
        ] {
            if self.one_in(12) {
                headers.push((name, self.short_text()));
            }
        }
        headers
    }

    fn body(&mut self, operation: &Operation) -> Option<Vec<u8>> {
        let mut body = operation.example()?;
        for _ in 0..self.dice.random_range(0..4) {
            self.change(&mut body);
        }
        let mut bytes = body.to_string().into_bytes();
        match self.dice.random_range(0..100) {
            0..4 => bytes.truncate(self.dice.random_range(0..bytes.len().max(1))),
            4..7 => {
                let at = self.dice.random_range(0..bytes.len().max(1));
                bytes.splice(at..at, self.dice.random::<[u8; 4]>());
            }
            7 => bytes = "[".repeat(self.dice.random_range(1..100_000)).into_bytes(),
            8 => {
                bytes =
                    br#"{"name": "\ud800", "content": "\udfff", "description": "\ud800\u0000"}"#
                        .to_vec();
            }
            9 if self.one_in(10) => {
                bytes.resize(MOST_BODY_BYTES + self.dice.random_range(0..100), b' ');
            }
            _ => {}
        }
        Some(bytes)
    }

    fn value(&mut self) -> Value {
        match self.dice.random_range(0..12) {
            0 => Value::Null,
            1 => json!(self.dice.random_bool(0.5)),
            2 => json!(self.dice.random_range(-2_i64..300)),
            3 => json!(self.dice.random::<i64>()),
            4 => json!([0.5, -0.0, 1e300, 1e-300, 9_007_199_254_740_993.0].choose(&mut self.dice)),
            5 => json!([self.text(), self.text()]),
            6 => json!({self.text(): self.text()}),
            7 if self.one_in(8) => {
                (0..self.dice.random_range(1..200)).fold(json!(1), |inner, _| json!([inner]))
            }
            7 if self.one_in(8) => json!(vec![self.text(); self.dice.random_range(1..300)]),
            _ => json!(self.text()),
        }
    }

    /// Changes the value at one random location.
    fn change(&mut self, value: &mut Value) {
        match value {
            Value::Object(members) if !members.is_empty() && !self.one_in(5) => {
                let at = self.dice.random_range(0..members.len());
                let name = members.keys().nth(at).cloned().expect("the member exists");
                if self.one_in(6) {
                    members.remove(&name);
                } else {
                    self.change(&mut members[&name]);
                }
            }
            Value::Object(members) => {
                let names = [
                    "metadata",
                    "config",
                    "persona",
                    "tasks",
                    "depends_on",
                    "thread_id",
                    "author_id",
                    "agent_id",
                    "channel_id",
                    "status",
                    "output",
                    "error",
                    "priority",
                    "order_index",
                    "is_active",
                ];
                let name = names.choose(&mut self.dice).expect("the list isn't empty");
                let name = if self.one_in(5) {
                    self.text()
                } else {
                    (*name).to_owned()
                };
                members.insert(name, self.value());
            }
            Value::Array(items) if !items.is_empty() && self.one_in(2) => {
                let at = self.dice.random_range(0..items.len());
                self.change(&mut items[at]);
            }
            Value::Array(items) => items.push(self.value()),
            _ => *value = self.value(),
        }
    }
}
