//! The clients, and the ledger in which they record the responses. At the end, the test compares the database with the ledger.
//!
//! A client repeats a request with an idempotency key until it receives a final response. It sends a request without a key only once,
//! because a repeat could execute the write twice. Each client checks only the responses to its own requests.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use http::{Method, Request, StatusCode};
use http_body_util::Full;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use support::{Answer, Edge};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

/// The longest permitted response time. It is much longer than the timeouts of two connection attempts and two statements together.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long a client continues to repeat a request with an idempotency key after the last phase has ended.
const LAST_REPEATS: Duration = Duration::from_secs(30);

/// The phase of the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Before the measurements begin.
    WarmUp,
    /// Before any fault.
    Before,
    /// During the faults.
    Faults,
    /// Just after the last fault.
    Recovery,
    /// After the recovery, when no request may fail.
    After,
}

impl Phase {
    /// Returns whether requests may fail.
    fn has_faults(self) -> bool {
        matches!(self, Self::Faults | Self::Recovery)
    }
}

const PHASES: [Phase; 5] = [
    Phase::WarmUp,
    Phase::Before,
    Phase::Faults,
    Phase::Recovery,
    Phase::After,
];

/// The result of a write, as far as the client can know it from the responses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The write was executed, so its row exists once.
    Acknowledged,
    /// The write was not executed, so its row doesn't exist.
    Refused,
    /// The write may have been executed, so its row exists once or not at all.
    Unknown,
}

/// The results that all clients recorded.
#[derive(Debug, Default)]
pub struct Ledger {
    /// Messages by their content.
    pub messages: BTreeMap<String, Fate>,
    /// Agents by name.
    pub agents: BTreeMap<String, Fate>,
    /// Workflows by their description.
    pub workflows: BTreeMap<String, Fate>,
    /// IDs of the workflows that were started.
    pub started: Vec<String>,
    /// IDs of the claimed tasks, in the order in which the responses arrived.
    pub claimed: Vec<String>,
    /// The output of each task that was reported as completed.
    pub completed: BTreeMap<String, String>,
    /// Idempotency keys of successful writes.
    pub keys: Vec<String>,
    /// Unexpected server errors (5xx), requests without an answer, and failed checks.
    pub violations: Vec<String>,
    statuses: BTreeMap<(Phase, u16), usize>,
    /// The time of arrival, the phase and the response time of each successful response.
    elapsed: Vec<(Instant, Phase, Duration)>,
}

impl Ledger {
    /// Returns a summary of a few lines, which the test prints.
    pub fn summary(&self) -> String {
        let count =
            |of: &BTreeMap<String, Fate>, fate| of.values().filter(|&&is| is == fate).count();
        let mut lines = Vec::new();
        for (name, records) in [
            ("messages", &self.messages),
            ("agents", &self.agents),
            ("workflows", &self.workflows),
        ] {
            lines.push(format!(
                "{name}: {} acknowledged, {} refused, {} unknown",
                count(records, Fate::Acknowledged),
                count(records, Fate::Refused),
                count(records, Fate::Unknown)
            ));
        }
        lines.push(format!(
            "tasks: {} claimed, {} completed; {} keys",
            self.claimed.len(),
            self.completed.len(),
            self.keys.len()
        ));
        for ((phase, status), count) in &self.statuses {
            lines.push(format!("{phase:?}: {status} {count} times"));
        }
        lines.join("\n")
    }

    /// Computes the 95th percentile of the response times in each second of a phase, and returns the median of these percentiles in
    /// milliseconds. One slow second of the machine doesn't change the median much.
    pub fn p95_ms(&self, phase: Phase) -> f64 {
        let Some(&(began, ..)) = self.elapsed.iter().min_by_key(|(at, ..)| *at) else {
            return f64::NAN;
        };
        let mut seconds: BTreeMap<u64, Vec<Duration>> = BTreeMap::new();
        for &(at, of, elapsed) in &self.elapsed {
            if of == phase {
                let second = at.duration_since(began).as_secs();
                seconds.entry(second).or_default().push(elapsed);
            }
        }
        let mut p95s: Vec<_> = seconds
            .into_values()
            .map(|mut times| {
                times.sort_unstable();
                times[times.len() * 95 / 100]
            })
            .collect();
        p95s.sort_unstable();
        let median = p95s.get(p95s.len() / 2).map(Duration::as_secs_f64);
        median.unwrap_or(f64::NAN) * 1000.0
    }
}

/// The running clients.
pub struct Clients {
    world: Arc<World>,
    tasks: Vec<JoinHandle<()>>,
}

/// The state that all clients share.
struct World {
    edge: Arc<Edge>,
    ledger: Mutex<Ledger>,
    phase: AtomicU8,
    is_over: AtomicBool,
    /// The id of an open channel. `archived` is the id of an archived channel.
    channel: String,
    archived: String,
    /// The IDs of the agents whose tasks the clients claim. Two clients share each agent, so that they compete for its tasks.
    agents: Vec<String>,
}

impl Clients {
    /// Creates the agents and channels, and starts the clients.
    pub async fn start(edge: Arc<Edge>, count: usize, seed: u64) -> Self {
        let created = async |path: &str, body: Value| -> String {
            let answer = edge.post(path, &body).await;
            assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
            answer.json()["id"].as_str().expect("an id").to_owned()
        };
        let mut agents = Vec::new();
        for n in 0..count.div_ceil(2) {
            let body = json!({"name": format!("@worker-{n}"), "agent_type": "worker"});
            agents.push(created("/api/agents", body).await);
        }
        let channel = created("/api/channels", json!({"name": "soak"})).await;
        let archived = created("/api/channels", json!({"name": "soak-archived"})).await;
        let path = format!("/api/channels/{archived}");
        assert_eq!(
            edge.request(Method::DELETE, &path).await.status,
            StatusCode::OK
        );
        let world = Arc::new(World {
            edge,
            ledger: Mutex::default(),
            phase: AtomicU8::new(0),
            is_over: AtomicBool::new(false),
            channel,
            archived,
            agents,
        });
        let tasks = (0..count)
            .map(|n| {
                let client = Client {
                    world: world.clone(),
                    n,
                    done: 0,
                    dice: StdRng::seed_from_u64(seed.wrapping_add(n as u64 + 1)),
                    known: Vec::new(),
                };
                tokio::spawn(client.run())
            })
            .collect();
        Self { world, tasks }
    }

    /// Sets the phase in which all clients record their next responses.
    pub fn enter(&self, phase: Phase) {
        self.world.phase.store(phase as u8, Ordering::Relaxed);
    }

    /// Returns the number of answers by status in this phase.
    pub fn statuses(&self) -> String {
        let phase = self.world.phase();
        let ledger = self
            .world
            .ledger
            .lock()
            .expect("no client panics while it has the lock");
        let of_phase = ledger.statuses.iter().filter(|((of, _), _)| *of == phase);
        let counts = of_phase.map(|((_, status), count)| format!("{status}: {count}"));
        let mut texts: Vec<_> = counts.collect();
        if !ledger.violations.is_empty() {
            texts.push(format!("VIOLATIONS: {}", ledger.violations.len()));
        }
        texts.join("  ")
    }

    /// Stops the clients after their current actions, and returns the ledger.
    pub async fn end(self) -> Ledger {
        self.world.is_over.store(true, Ordering::Relaxed);
        let mut panicked = Vec::new();
        for task in self.tasks {
            if let Err(error) = task.await {
                panicked.push(format!("a client's check failed: {error}"));
            }
        }
        let mut ledger =
            std::mem::take(&mut *self.world.ledger.lock().expect("all clients have ended"));
        ledger.violations.extend(panicked);
        ledger
    }
}

impl World {
    fn phase(&self) -> Phase {
        PHASES[usize::from(self.phase.load(Ordering::Relaxed))]
    }

    fn note(&self, work: impl FnOnce(&mut Ledger)) {
        work(
            &mut self
                .ledger
                .lock()
                .expect("no client panics while it has the lock"),
        );
    }

    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }
}

struct Client {
    world: Arc<World>,
    n: usize,
    /// The number of names that this client has created. Each name contains it, so that names are unique.
    done: usize,
    dice: StdRng,
    /// The ID and the content of each message that this client created and the server acknowledged.
    known: Vec<(String, String)>,
}

impl Client {
    async fn run(mut self) {
        while !self.world.is_over() {
            match self.dice.random_range(0..100) {
                0..30 => self.read().await,
                30..45 => self.read_known().await,
                45..70 => self.write_message().await,
                70..75 => self.write_refused().await,
                75..80 => self.create_agent().await,
                _ => self.work_through_a_workflow().await,
            }
            self.pause().await;
        }
    }

    /// Sleeps for a random time of less than 300 ms. Without pauses the clients would saturate the CPU, and the response times would mean
    /// nothing.
    async fn pause(&mut self) {
        let pause = self.dice.random_range(0..300);
        sleep(Duration::from_millis(pause)).await;
    }

    /// Returns a unique name that begins with `of`.
    fn name(&mut self, of: &str) -> String {
        self.done += 1;
        format!("{of}-{}-{}", self.n, self.done)
    }

    // --- requests ---

    /// Sends a request once. If no response arrives, records a violation and returns `None`.
    async fn send(
        &self,
        method: Method,
        path: &str,
        key: Option<&str>,
        body: &Value,
    ) -> Option<Answer> {
        let mut request = Request::builder()
            .method(method.clone())
            .uri(format!("{}{path}", self.world.edge.url()));
        let mut bytes = Full::default();
        if !body.is_null() {
            request = request.header("content-type", "application/json");
            bytes = Full::from(body.to_string());
        }
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        let request = request.body(bytes).expect("the request is valid");
        let phase = self.world.phase();
        let outcome = timeout(PATIENCE, self.world.edge.try_send(request)).await;
        let outcome = outcome
            .unwrap_or_else(|_| Err(format!("{method} {path}: no answer within {PATIENCE:?}")));
        self.world.note(|ledger| match &outcome {
            Ok(answer) => {
                let status = answer.status.as_u16();
                *ledger.statuses.entry((phase, status)).or_default() += 1;
                if answer.status.is_success() {
                    ledger.elapsed.push((Instant::now(), phase, answer.elapsed));
                } else if answer.status.is_server_error()
                    && !(is_a_fault(answer.status) && phase.has_faults())
                {
                    ledger
                        .violations
                        .push(format!("{method} {path}: {answer:?}"));
                }
            }
            Err(error) => {
                *ledger.statuses.entry((phase, 0)).or_default() += 1;
                ledger.violations.push(error.clone());
            }
        });
        outcome.ok()
    }

    /// Sends a request with an idempotency key, and repeats it until a final response arrives. Returns `None` if none arrives in time.
    async fn send_keyed(&mut self, method: Method, path: &str, body: &Value) -> Option<Answer> {
        let key = self.name("key");
        let mut last = None;
        loop {
            let answer = self.send(method.clone(), path, Some(&key), body).await;
            match answer {
                Some(answer) if !is_a_fault(answer.status) => {
                    // Ignores 204, the response to a claim that finds no task. The server stores no response for such a claim's key.
                    if answer.status.is_success() && answer.status != StatusCode::NO_CONTENT {
                        self.world.note(|ledger| ledger.keys.push(key.clone()));
                        if self.dice.random_ratio(1, 8) {
                            self.repeat(method, path, &key, body, &answer).await;
                        }
                    }
                    return Some(answer);
                }
                _ => {}
            }
            if self.world.is_over() {
                let since = *last.get_or_insert_with(Instant::now);
                if since.elapsed() > LAST_REPEATS {
                    let text = format!(
                        "{method} {path}: no final answer in {LAST_REPEATS:?} after all faults"
                    );
                    self.world.note(|ledger| ledger.violations.push(text));
                    return None;
                }
            }
            let pause = self.dice.random_range(50..500);
            sleep(Duration::from_millis(pause)).await;
        }
    }

    /// Repeats a request with the same idempotency key. The response must be the same as the first response.
    async fn repeat(&self, method: Method, path: &str, key: &str, body: &Value, first: &Answer) {
        let Some(answer) = self.send(method.clone(), path, Some(key), body).await else {
            return;
        };
        let is_same = answer.status == first.status && answer.body == first.body;
        if !is_same && !is_a_fault(answer.status) {
            let text =
                format!("{method} {path} under {key} was answered {first:?}, then {answer:?}");
            self.world.note(|ledger| ledger.violations.push(text));
        }
    }

    /// Sends a POST request, with an idempotency key in half of the cases. Returns the result of the write, and the response if there is one.
    async fn write(&mut self, path: &str, body: &Value) -> (Fate, Option<Answer>) {
        let answer = if self.dice.random_bool(0.5) {
            self.send_keyed(Method::POST, path, body).await
        } else {
            self.send(Method::POST, path, None, body).await
        };
        let fate = match &answer {
            Some(answer) if answer.status.is_success() => Fate::Acknowledged,
            Some(answer) if answer.status.is_client_error() => Fate::Refused,
            _ => Fate::Unknown,
        };
        (fate, answer)
    }

    fn must(&self, holds: bool, what: &str, answer: &Answer) {
        if !holds {
            let text = format!("{what}: {answer:?}");
            self.world.note(|ledger| ledger.violations.push(text));
        }
    }

    // --- actions ---

    async fn read(&mut self) {
        let messages = format!("/api/channels/{}/messages?limit=10", self.world.channel);
        let paths = [
            "/api/agents?limit=10",
            "/api/agents/name/orchestrator",
            &messages,
            "/api/workflows?status=executing&limit=10",
        ];
        let path = paths.choose(&mut self.dice).expect("the list isn't empty");
        if let Some(answer) = self.send(Method::GET, path, None, &Value::Null).await {
            self.must(
                answer.status == 200 || is_a_fault(answer.status),
                path,
                &answer,
            );
        }
    }

    /// Reads an acknowledged message during the run. The message must exist at any time, not only when the ledger is checked at the end.
    async fn read_known(&mut self) {
        let Some((id, content)) = self.known.choose(&mut self.dice).cloned() else {
            return self.read().await;
        };
        let path = format!("/api/messages/{id}");
        if let Some(answer) = self.send(Method::GET, &path, None, &Value::Null).await {
            let holds = is_a_fault(answer.status)
                || (answer.status == 200 && answer.json()["content"] == content);
            self.must(holds, &format!("acknowledged as {content}"), &answer);
        }
    }

    async fn write_message(&mut self) {
        let content = self.name("message");
        let path = format!("/api/channels/{}/messages", self.world.channel);
        let (fate, answer) = self.write(&path, &json!({"content": content})).await;
        if let Some(answer) = answer.filter(|_| fate == Fate::Acknowledged) {
            let id = answer.json()["id"].as_str().unwrap_or_default().to_owned();
            self.known.push((id, content.clone()));
        }
        self.world.note(|ledger| {
            ledger.messages.insert(content, fate);
        });
    }

    /// Sends a write that the server must refuse: a message to an archived channel, or an invalid message.
    async fn write_refused(&mut self) {
        let content = self.name("refused");
        let (channel, body) = if self.dice.random_bool(0.5) {
            (&self.world.archived, json!({"content": content}))
        } else {
            (
                &self.world.channel,
                json!({"content": content, "author_type": "nobody"}),
            )
        };
        let path = format!("/api/channels/{channel}/messages");
        let (fate, answer) = self.write(&path, &body).await;
        if let Some(answer) = answer {
            let refused =
                [StatusCode::CONFLICT, StatusCode::UNPROCESSABLE_ENTITY].contains(&answer.status);
            self.must(refused || is_a_fault(answer.status), &content, &answer);
        }
        // The server must refuse this write, so the message must not exist, even if the client got no final answer.
        let fate = if fate == Fate::Unknown {
            Fate::Refused
        } else {
            fate
        };
        self.world.note(|ledger| {
            ledger.messages.insert(content, fate);
        });
    }

    /// Creates an agent. In a quarter of the cases, the name is already taken, so the server must refuse the write.
    async fn create_agent(&mut self) {
        if self.dice.random_ratio(1, 4) {
            let body = json!({"name": "@worker-0", "agent_type": "worker"});
            let (_, answer) = self.write("/api/agents", &body).await;
            if let Some(answer) = answer {
                let holds = answer.status == StatusCode::CONFLICT || is_a_fault(answer.status);
                self.must(holds, "a name that's taken", &answer);
            }
            return;
        }
        let name = format!("@{}", self.name("agent"));
        let body = json!({"name": name, "agent_type": "soaked"});
        let (fate, _) = self.write("/api/agents", &body).await;
        self.world.note(|ledger| {
            ledger.agents.insert(name, fate);
        });
    }

    /// Creates and starts a workflow, and completes tasks until the agent has no ready task.
    async fn work_through_a_workflow(&mut self) {
        let agent = self.world.agents[self.n / 2].clone();
        let description = self.name("workflow");
        let strategies = [
            ("sequential", json!([])),
            ("parallel", json!([])),
            ("dag", json!([0])),
        ];
        let (strategy, depends_on) = strategies
            .choose(&mut self.dice)
            .expect("the list isn't empty");
        let body = json!({"description": description, "execution_strategy": strategy, "tasks": [
            {"description": "first", "agent_id": agent},
            {"description": "second", "agent_id": agent, "depends_on": depends_on},
        ]});
        let (fate, answer) = self.write("/api/workflows", &body).await;
        self.world.note(|ledger| {
            ledger.workflows.insert(description, fate);
        });
        let Some(answer) = answer.filter(|_| fate == Fate::Acknowledged) else {
            return;
        };
        let workflow = answer.json()["id"].as_str().unwrap_or_default().to_owned();
        let path = format!("/api/workflows/{workflow}/start");
        if let Some(answer) = self.send_keyed(Method::POST, &path, &Value::Null).await {
            self.must(answer.status == 200, "a workflow is started", &answer);
            self.world.note(|ledger| ledger.started.push(workflow));
        }
        while let Some(task) = self.claim(&agent).await {
            self.pause().await;
            self.complete(&task).await;
            self.pause().await;
        }
    }

    async fn claim(&mut self, agent: &str) -> Option<Value> {
        let path = "/api/workflow-tasks/claim";
        let (_, answer) = self.write(path, &json!({"agent_id": agent})).await;
        let answer = answer.filter(|answer| answer.status == StatusCode::OK)?;
        let task = answer.json();
        let id = task["id"].as_str().unwrap_or_default().to_owned();
        self.world.note(|ledger| ledger.claimed.push(id));
        Some(task)
    }

    async fn complete(&mut self, task: &Value) {
        let (id, workflow) = (task["id"].as_str(), task["workflow_id"].as_str());
        let (id, workflow) = (id.unwrap_or_default(), workflow.unwrap_or_default());
        let output = self.name("output");
        let path = format!("/api/workflows/{workflow}/tasks/{id}");
        let body = json!({"status": "completed", "output": output});
        let Some(answer) = self.send_keyed(Method::PATCH, &path, &body).await else {
            return;
        };
        self.must(answer.status == 200, "a task is completed", &answer);
        self.world.note(|ledger| {
            ledger.completed.insert(id.to_owned(), output);
        });
    }
}

/// Returns whether a status reports a temporary fault, after which a client may send the request again.
fn is_a_fault(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT
    )
}
