//! A client in Rust that uses ureq. It shows how to read lists page by page, repeat writes safely, change rows without overwriting the
//! changes of other clients, print the API's errors, and count the queries of each answer. client.py and client.ts are the same client in
//! other languages.
//!
//!     cargo run -p reznet-tests --bin client -- http://127.0.0.1:3000
//!
//! If the API requires a token, set it in `REZNET_TOKEN`.

use std::error::Error;
use std::thread::sleep;
use std::time::Duration;

use serde_json::{Value, json};
use ureq::Agent;
use ureq::http::Request;
use uuid::Uuid;

const ATTEMPTS: u32 = 5;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// The API at an address, such as `http://127.0.0.1:3000`.
struct RezNet {
    address: String,
    token: Option<String>,
    agent: Agent,
    query_count: u32,
    /// The read-your-writes token of the latest write. Later reads from a replica or a cache then include that write.
    written: Option<String>,
}

/// A response's JSON, the path of the next page, and the entity tag.
struct Answer {
    value: Value,
    next: Option<String>,
    tag: Option<String>,
}

/// A problem document that the API returned.
#[derive(Debug)]
struct Problem(Value);

impl RezNet {
    fn new(address: &str, token: Option<String>) -> Self {
        let config = Agent::config_builder()
            // With this setting, ureq returns a response for an error status too, so that the client can read the problem document.
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(30)));
        Self {
            address: address.trim_end_matches('/').to_owned(),
            token,
            agent: config.build().into(),
            query_count: 0,
            written: None,
        }
    }

    /// Sends a request. A write has an idempotency key, so the API executes it once even if the client sends it several times.
    fn request(&mut self, method: &str, path: &str, body: Option<&Value>) -> Result<Answer> {
        self.request_if(method, path, body, None)
    }

    /// Sends a request like [`request`](Self::request). With `if_match`, the API executes the write only if the row still has that tag.
    fn request_if(
        &mut self,
        method: &str,
        path: &str,
        body: Option<&Value>,
        if_match: Option<&str>,
    ) -> Result<Answer> {
        let key = Uuid::new_v4().to_string();
        let mut attempt = 0;
        loop {
            attempt += 1;
            let mut request = Request::builder()
                .method(method)
                .uri(format!("{}{path}", self.address));
            if let Some(token) = &self.token {
                request = request.header("authorization", format!("Bearer {token}"));
            }
            if method != "GET" {
                request = request.header("idempotency-key", &key);
            } else if let Some(written) = &self.written {
                request = request.header("x-written", written);
            }
            if body.is_some() {
                request = request.header("content-type", "application/json");
            }
            if let Some(tag) = if_match {
                request = request.header("if-match", tag);
            }
            let text = body.map(Value::to_string).unwrap_or_default();
            let wait_s = match self.agent.run(request.body(text)?) {
                Ok(mut answer) => {
                    let header =
                        |name: &str| Some(answer.headers().get(name)?.to_str().ok()?.to_owned());
                    let (link, wait_s) = (header("link"), header("retry-after"));
                    let tag = header("etag");
                    let written = header("x-written");
                    let query_count: u32 = header("x-query-count").unwrap_or_default().parse()?;
                    self.written = written.or(self.written.take());
                    let text = answer.body_mut().read_to_string()?;
                    let value = if text.is_empty() {
                        Value::Null
                    } else {
                        serde_json::from_str(&text)?
                    };
                    match answer.status().as_u16() {
                        200..300 => {
                            self.query_count += query_count;
                            let next = link.and_then(|link| {
                                let (path, _) =
                                    link.strip_prefix('<')?.split_once(">; rel=\"next\"")?;
                                Some(path.to_owned())
                            });
                            return Ok(Answer { value, next, tag });
                        }
                        503 | 504 if attempt < ATTEMPTS => {
                            wait_s.unwrap_or_default().parse().unwrap_or(1)
                        }
                        _ => return Err(Problem(value).into()),
                    }
                }
                // Without a response, a read may be sent again, and so may a write, because it has an idempotency key.
                Err(_) if attempt < ATTEMPTS => 1,
                Err(error) => return Err(error.into()),
            };
            sleep(Duration::from_secs(wait_s));
        }
    }

    /// Returns every item of a list, page by page. No item is returned twice, even if other clients write during the reads.
    fn all(&mut self, path: &str) -> Result<Vec<Value>> {
        let mut items = Vec::new();
        let mut next = Some(path.to_owned());
        while let Some(path) = next {
            let page = self.request("GET", &path, None)?;
            items.extend(page.value.as_array().cloned().unwrap_or_default());
            next = page.next;
        }
        Ok(items)
    }

    /// Changes the row at a path. `members_of` gets the current row, and returns the members to change. If another client changes the row
    /// between the read and the write, reads the row and calls `members_of` again, so that no change is lost.
    fn change(
        &mut self,
        path: &str,
        mut members_of: impl FnMut(&mut Self, &Value) -> Result<Value>,
    ) -> Result<Value> {
        loop {
            let row = self.request("GET", path, None)?;
            let members = members_of(self, &row.value)?;
            match self.request_if("PATCH", path, Some(&members), row.tag.as_deref()) {
                Ok(changed) => return Ok(changed.value),
                Err(error) => match error.downcast_ref::<Problem>() {
                    Some(Problem(problem)) if problem["status"] == 412 => {}
                    _ => return Err(error),
                },
            }
        }
    }
}

impl Error for Problem {}

impl std::fmt::Display for Problem {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(&in_words(&self.0))
    }
}

/// Formats a problem document (RFC 9457): its status, its detail, its field errors and the request's id.
fn in_words(problem: &Value) -> String {
    let faults: Vec<_> = problem["errors"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|fault| fault["detail"].as_str())
        .collect();
    let (detail, id) = (problem["detail"].as_str(), problem["request_id"].as_str());
    format!(
        "{}: {} {} (request {})",
        problem["status"],
        detail.unwrap_or_default(),
        faults.join("; "),
        id.unwrap_or_default()
    )
}

fn main() -> Result<()> {
    let address = std::env::args()
        .nth(1)
        .ok_or("usage: client ADDRESS, as http://127.0.0.1:3000")?;
    let mut api = RezNet::new(&address, std::env::var("REZNET_TOKEN").ok());

    let agents = api.all("/api/agents?limit=2")?;
    let names: Vec<_> = agents
        .iter()
        .filter_map(|agent| agent["name"].as_str())
        .collect();
    println!("agents: {}", names.join(" "));

    let channels = api.all("/api/channels")?;
    let general = channels
        .iter()
        .find(|channel| channel["name"] == "general")
        .ok_or("there is no channel \"general\"")?;
    let messages = format!(
        "/api/channels/{}/messages",
        general["id"].as_str().unwrap_or_default()
    );
    let body = json!({"content": "Hello from Rust.", "author_name": "client.rs"});
    let written = api.request("POST", &messages, Some(&body))?.value;
    let newest = api.request("GET", &format!("{messages}?limit=1"), None)?;
    if newest.value[0] != written {
        return Err("what was written is not the newest".into());
    }
    println!(
        "written: {}",
        written["content"].as_str().unwrap_or_default()
    );

    let path = format!(
        "/api/channels/{}",
        general["id"].as_str().unwrap_or_default()
    );
    let mut overtaken = false;
    let changed = api.change(&path, |api, channel| {
        let topic = channel["topic"].as_str().unwrap_or_default();
        let before: String = topic.chars().take(400).collect();
        if !overtaken {
            // At the first call, sends another client's change between this client's read and its write. Neither change may be lost.
            overtaken = true;
            let other = json!({"topic": format!("{before} Rust was here.")});
            api.request("PATCH", &path, Some(&other))?;
        }
        Ok(json!({"topic": format!("{before} And again.")}))
    })?;
    println!("changed: {}", changed["topic"].as_str().unwrap_or_default());

    let slip = json!({"content": "", "autor_name": "a slip"});
    if let Err(problem) = api.request("POST", &messages, Some(&slip)) {
        println!("refused: {problem}");
    }
    println!("queries: {}", api.query_count);
    Ok(())
}
