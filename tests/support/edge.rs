//! A running host with the component in it, and an HTTP client for it.
//!
//! If the environment variable `SPIN` is set, the host is `$SPIN up`. If not, it's `reznet-host`. Each host gets the same manifest, flags
//! and variables.

use std::io::{BufRead, BufReader, Read};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use http::header::IF_NONE_MATCH;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{Database, project};

/// A host's process that serves the component. Dropping this value kills the process.
pub struct Edge {
    process: Child,
    address: SocketAddr,
    log: Arc<Mutex<String>>,
    client: Client<HttpConnector, Full<Bytes>>,
    /// How many statements a request may run beyond its query budget.
    repeats: u32,
}

/// A complete response.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
    /// The time from before the connection is opened until the body is complete.
    pub elapsed: Duration,
}

impl Edge {
    /// Starts a host for a database, with the default variables of the manifest.
    pub async fn start(database: &Database) -> Self {
        Self::start_with(database, &[], &[]).await
    }

    /// Starts a host for a database, with these Spin variables and these additional command-line flags.
    pub async fn start_with(
        database: &Database,
        variables: &[(&str, &str)],
        flags: &[&str],
    ) -> Self {
        let (url, host) = (database.app_url(), database.host());
        let mut all = vec![("db_url", url.as_str()), ("db_host", host.as_str())];
        all.extend(variables);
        Self::start_at(&all, flags).await
    }

    /// Starts a host with the build of the component that also has the routes for tests (`src/http/test_routes.rs`).
    pub async fn start_test_build(database: &Database, flags: &[&str]) -> Self {
        let build = "target/test-build/reznet_edge.wasm";
        assert!(
            project().join(build).exists(),
            "{build} is missing: run scripts/test, which builds it"
        );
        let source = "target/wasm32-wasip2/release/reznet_edge.wasm";
        Self::start_changed(database, &[], flags, |manifest| {
            assert!(manifest.contains(source), "spin.toml names another build");
            manifest.replace(source, build)
        })
        .await
    }

    /// Starts a host with a changed manifest. `change` gets the text of spin.toml and returns the changed text.
    pub async fn start_changed(
        database: &Database,
        variables: &[(&str, &str)],
        flags: &[&str],
        change: impl FnOnce(String) -> String,
    ) -> Self {
        let manifest =
            std::fs::read_to_string(project().join("spin.toml")).expect("spin.toml exists");
        // Makes paths absolute, because the changed manifest is in another folder. Removes the closing quote, because a path continues.
        let target = format!("{:?}", format!("{}/target/", project().display()));
        let manifest = change(manifest).replace("\"target/", target.trim_end_matches('"'));
        let folder = project().join("target/changed");
        std::fs::create_dir_all(&folder).expect("a folder can be made");
        let path = folder.join(format!("{}.toml", database.name()));
        std::fs::write(&path, manifest).expect("the manifest can be written");
        let (url, host) = (database.app_url(), database.host());
        let mut all = vec![("db_url", url.as_str()), ("db_host", host.as_str())];
        all.extend(variables);
        Self::start_manifest(&path, &all, flags, Ipv4Addr::LOCALHOST).await
    }

    /// Starts a host that listens on all addresses of this machine.
    pub async fn start_for_all(database: &Database, variables: &[(&str, &str)]) -> Self {
        let (url, host) = (database.app_url(), database.host());
        let mut all = vec![("db_url", url.as_str()), ("db_host", host.as_str())];
        all.extend(variables);
        let manifest = project().join("spin.toml");
        Self::start_manifest(&manifest, &all, &[], Ipv4Addr::UNSPECIFIED).await
    }

    /// Starts a host with exactly these Spin variables. The caller must include the database's.
    pub async fn start_at(variables: &[(&str, &str)], flags: &[&str]) -> Self {
        let manifest = project().join("spin.toml");
        Self::start_manifest(&manifest, variables, flags, Ipv4Addr::LOCALHOST).await
    }

    async fn start_manifest(
        manifest: &Path,
        variables: &[(&str, &str)],
        flags: &[&str],
        listen: Ipv4Addr,
    ) -> Self {
        let address = free_address();
        let mut command = host_command(address.port());
        command
            .process_group(0)
            .current_dir(project())
            .arg("-f")
            .arg(manifest)
            .args(["--listen", &format!("{listen}:{}", address.port())])
            .args(flags)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if !flags.contains(&"--runtime-config-file") {
            command.args(["--runtime-config-file", "runtime-config.toml"]);
        }
        for (name, value) in variables {
            command.env(format!("SPIN_VARIABLE_{}", name.to_uppercase()), value);
        }
        let mut process = command
            .spawn()
            .expect("the host starts: scripts/test builds it");
        let log = Arc::new(Mutex::new(String::new()));
        collect(process.stdout.take().expect("piped"), &log);
        collect(process.stderr.take().expect("piped"), &log);
        let mut edge = Self {
            process,
            address,
            log,
            client: Client::builder(TokioExecutor::new())
                .pool_max_idle_per_host(0)
                .build_http(),
            repeats: 0,
        };
        edge.wait_until_it_listens().await;
        edge
    }

    /// Permits one more statement for each request. For tests that break connections, because the component then repeats a statement.
    #[must_use]
    pub fn letting_statements_repeat(mut self) -> Self {
        self.repeats = 1;
        self
    }

    /// Permits 14 more statements for each request. If one section of the performance report can't be read, the component reads each section
    /// with its own statement.
    #[must_use]
    pub fn letting_sections_be_read_alone(mut self) -> Self {
        self.repeats = 14;
        self
    }

    async fn wait_until_it_listens(&mut self) {
        let patience = Instant::now() + Duration::from_mins(1);
        while tokio::net::TcpStream::connect(self.address).await.is_err() {
            if let Ok(Some(status)) = self.process.try_wait() {
                panic!("the host ended with {status}:\n{}", self.log());
            }
            assert!(
                Instant::now() < patience,
                "the host doesn't listen:\n{}",
                self.log()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Returns the host's address: `http://127.0.0.1:3000`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Sends a GET request, with the checks that every response must pass.
    pub async fn get(&self, path: &str) -> Answer {
        self.request(Method::GET, path).await
    }

    /// Sends a request without a body, with the checks that every response must pass.
    pub async fn request(&self, method: Method, path: &str) -> Answer {
        self.request_with(method, path, &[]).await
    }

    /// Like [`request`](Self::request), with additional request headers.
    pub async fn request_with(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Answer {
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.url()));
        let request = headers
            .iter()
            .fold(request, |request, (name, value)| {
                request.header(*name, *value)
            })
            .body(Full::default())
            .expect("path and headers are valid");
        self.send(request).await
    }

    /// Sends any request, with the checks that every response must pass.
    pub async fn send(&self, request: Request<Full<Bytes>>) -> Answer {
        self.try_send(request)
            .await
            .unwrap_or_else(|error| panic!("{error}\n{}", self.log()))
    }

    /// Like [`send`](Self::send), but returns an error if there is no response or only a part of one.
    pub async fn try_send(&self, request: Request<Full<Bytes>>) -> Result<Answer, String> {
        let (method, uri) = (request.method().clone(), request.uri().clone());
        // If a request for a list has `If-None-Match`, the component first queries only the list's ETag, so two statements are allowed.
        let of_tag = u32::from(request.headers().contains_key(IF_NONE_MATCH));
        let answer = self.exchange(request).await;
        let answer = answer.map_err(|error| format!("{method} {uri}: {error}"))?;
        // Skips the checks for test routes, because these routes may break the rules.
        if !uri.path().starts_with("/test/") {
            answer.check(&method, uri.path(), self.repeats + of_tag);
            crate::contract::check(&method, uri.path(), &answer);
        }
        Ok(answer)
    }

    /// Sends any request over its own connection and returns the response unchecked.
    pub async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<Answer, String> {
        let clock = Instant::now();
        let response = self.client.request(request).await;
        let (parts, body) = response.map_err(|error| format!("{error:?}"))?.into_parts();
        let body = body.collect().await;
        Ok(Answer {
            status: parts.status,
            headers: parts.headers,
            body: body.map_err(|error| format!("body: {error:?}"))?.to_bytes(),
            elapsed: clock.elapsed(),
        })
    }

    /// Sends a request with a JSON body, with the checks that every response must pass.
    pub async fn send_json(&self, method: Method, path: &str, body: &Value) -> Answer {
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.url()))
            .header("content-type", "application/json")
            .body(Full::from(body.to_string()))
            .expect("the path is valid in a URI");
        self.send(request).await
    }

    /// Sends a POST request with a JSON body.
    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send_json(Method::POST, path, body).await
    }

    /// Sends a PATCH request with a JSON body.
    pub async fn patch(&self, path: &str, body: &Value) -> Answer {
        self.send_json(Method::PATCH, path, body).await
    }

    /// Writes bytes to a new connection and returns all bytes received. For requests that no HTTP client would send.
    pub async fn raw(&self, bytes: &[u8]) -> String {
        let mut stream = tokio::net::TcpStream::connect(self.address)
            .await
            .expect("the host listens");
        stream.write_all(bytes).await.expect("the host reads");
        let mut answer = Vec::new();
        let read = stream.read_to_end(&mut answer);
        tokio::time::timeout(Duration::from_secs(20), read)
            .await
            .expect("the host answers and closes within 20 s")
            .expect("the connection isn't reset");
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// Sends SIGTERM to the host and waits until it ends. Returns whether it exited successfully.
    pub async fn terminate(&mut self) -> bool {
        let pid = self.process.id().to_string();
        let asked = Command::new("kill").args(["-TERM", &pid]).status();
        assert!(asked.is_ok_and(|status| status.success()), "no kill");
        let patience = Instant::now() + Duration::from_secs(20);
        loop {
            if let Ok(Some(status)) = self.process.try_wait() {
                return status.success();
            }
            assert!(
                Instant::now() < patience,
                "the host doesn't end:\n{}",
                self.log()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Returns the host's process ID.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Returns the resident memory of the host's process, in KiB. Linux only.
    #[must_use]
    pub fn memory_kib(&self) -> u64 {
        self.status_kib("VmRSS:")
    }

    /// Returns the resident memory of the host's process without pages that are mapped from files, such as code, in KiB. Linux only.
    #[must_use]
    pub fn anonymous_memory_kib(&self) -> u64 {
        self.status_kib("RssAnon:")
    }

    fn status_kib(&self, name: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid()));
        let status = status.unwrap_or_default();
        let memory = status.lines().find_map(|line| line.strip_prefix(name));
        memory
            .and_then(|text| text.trim().trim_end_matches(" kB").parse().ok())
            .expect("Linux reports a process's memory")
    }

    /// Returns the log of the host and the component so far.
    #[must_use]
    pub fn log(&self) -> String {
        self.log.lock().expect("no reader panics").clone()
    }

    /// Waits for the first log line that contains all `parts`, and returns it.
    pub async fn log_line(&self, parts: &[&str]) -> String {
        let patience = Instant::now() + Duration::from_secs(5);
        loop {
            let log = self.log();
            let line = log
                .lines()
                .find(|line| parts.iter().all(|part| line.contains(part)));
            if let Some(line) = line {
                return line.to_owned();
            }
            assert!(
                Instant::now() < patience,
                "no line with {parts:?} in the log:\n{log}"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Edge {
    fn drop(&mut self) {
        // Kills the process group, because `spin up` is the parent of the process that serves.
        let group = format!("-{}", self.process.id());
        let _ = Command::new("kill").args(["-KILL", "--", &group]).status();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(spin_state(self.address.port()));
    }
}

impl Answer {
    /// Checks the rules that every response must obey, including error responses.
    fn check(&self, method: &Method, path: &str, more_queries: u32) {
        let milliseconds = |name: &str| {
            let text = self
                .header(name)
                .strip_suffix("ms")
                .unwrap_or_else(|| panic!("{name}: {self:?}"));
            let (_, decimals) = text
                .split_once('.')
                .unwrap_or_else(|| panic!("{name}: {self:?}"));
            assert_eq!(decimals.len(), 2, "{name}: {self:?}");
            text.parse::<f64>()
                .unwrap_or_else(|_| panic!("{name}: {self:?}"))
        };
        let (process, query) = (milliseconds("x-process-time"), milliseconds("x-query-time"));
        assert!(query <= process, "{query} > {process}: {self:?}");
        // A request runs one statement. A write that fails with 422 may need a second statement, which finds all missing references. The
        // performance report runs up to three.
        let names_references =
            self.status == StatusCode::UNPROCESSABLE_ENTITY && *method != Method::GET;
        let budget = match path {
            "/api/performance/database" => 3,
            _ if names_references => 2,
            _ => 1,
        };
        assert!(
            self.query_count() <= budget + more_queries,
            "over the query budget: {self:?}"
        );
        let timing = self.header("server-timing");
        for metric in ["total;dur=", "db;dur=", "conn;dur="] {
            assert!(timing.contains(metric), "{self:?}");
        }
        assert!(!self.header("x-request-id").is_empty());
        if *method == Method::HEAD {
            assert!(self.body.is_empty(), "{self:?}");
        } else if self.status.is_client_error() || self.status.is_server_error() {
            self.check_problem();
        }
    }

    fn check_problem(&self) {
        assert_eq!(
            self.header("content-type"),
            "application/problem+json",
            "{self:?}"
        );
        let problem = self.json();
        assert_eq!(problem["status"], self.status.as_u16(), "{problem}");
        for member in ["type", "title", "detail", "instance", "request_id"] {
            assert!(problem[member].is_string(), "{member}: {problem}");
        }
        let text = problem.to_string();
        for secret in ["reznet_api:", "127.0.0.1", "panicked"] {
            assert!(!text.contains(secret), "{text}");
        }
        // Removes the member `problems` of /api/health/ready before the search for SQL, because its text may name privileges such as SELECT.
        let mut without_problems = problem.clone();
        if let Some(members) = without_problems.as_object_mut() {
            members.remove("problems");
        }
        assert!(!without_problems.to_string().contains("SELECT"), "{text}");
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            assert!(
                self.header("retry-after").parse::<u32>().is_ok(),
                "{self:?}"
            );
        }
        if self.status == StatusCode::METHOD_NOT_ALLOWED {
            assert!(!self.header("allow").is_empty(), "{self:?}");
        }
    }

    /// Returns a header's text; fails the test if the header is missing.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_else(|| panic!("no {name}: {self:?}"))
    }

    /// Returns the path and query of the next page, if the response has a link to one.
    #[must_use]
    pub fn next(&self) -> Option<String> {
        let link = self.headers.get("link")?.to_str().expect("a Link is text");
        let path = link
            .strip_prefix('<')
            .and_then(|link| link.strip_suffix(">; rel=\"next\""));
        Some(path.unwrap_or_else(|| panic!("{link}")).to_owned())
    }

    /// Returns `X-Query-Count`.
    #[must_use]
    pub fn query_count(&self) -> u32 {
        let count = self.header("x-query-count");
        count.parse().unwrap_or_else(|_| panic!("{self:?}"))
    }

    /// Returns `X-Query-Time`, in milliseconds.
    #[must_use]
    pub fn query_ms(&self) -> f64 {
        let time = self.header("x-query-time").trim_end_matches("ms");
        time.parse().unwrap_or_else(|_| panic!("{self:?}"))
    }

    /// Returns the body as JSON.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

fn host_command(port: u16) -> Command {
    match std::env::var_os("SPIN") {
        Some(spin) => {
            let mut command = Command::new(spin);
            // Gives each Spin process its own key-value store. Each `reznet-host` process has its own store too, so tests can rely on this.
            command.arg("up").arg("--state-dir").arg(spin_state(port));
            command
        }
        None => Command::new(project().join("target/host/reznet-host")),
    }
}

/// Returns Spin's state directory for the host at this port.
fn spin_state(port: u16) -> PathBuf {
    project().join(".spin/tests").join(port.to_string())
}

/// Returns an address at which no server listens at the moment.
fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .expect("a port is free")
}

fn collect(stream: impl Read + Send + 'static, log: &Arc<Mutex<String>>) {
    let log = log.clone();
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            let mut log = log.lock().expect("no reader panics");
            log.push_str(&line);
            log.push('\n');
            crate::keep("host", format!("{line}\n").as_bytes());
        }
    });
}
