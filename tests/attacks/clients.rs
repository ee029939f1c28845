//! Attacks by clients that occupy resources of the host with little effort. They don't read responses, don't finish requests, or send
//! bodies that are expensive to parse.
//!
//! Only `reznet-host` has the limits against these attacks, so the tests are skipped on Spin. The test of all attacks together takes
//! 10 s, or 60 s if `REZNET_TEST_ALL` is set.

use std::env::var;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use http::StatusCode;
use support::{Database, Edge};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::runtime::Builder;
use tokio::sync::Mutex;
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};

/// An address of this machine that the honest clients don't use.
const ATTACKER: &str = "127.0.0.2:0";

/// The number of pages that a client requests at once and doesn't read.
const PIPELINED: usize = 100;

/// The longest permitted median time of a health check during an attack. On an idle machine the median is far below 100 ms. When slow
/// uploads could still occupy all admission permits, the median was over 10 s.
const HEALTH_LIMIT: Duration = Duration::from_secs(1);

/// How long after the attacks the test waits for the host's memory to fall to 120 % of its value before them. Memory
/// falls late, because instances end some seconds after their connections.
const MEMORY_TIMEOUT: Duration = Duration::from_secs(30);

/// Each test locks this mutex for its whole duration, so that the tests measure each attack alone.
static TURN: Mutex<()> = Mutex::const_new(());

const JSON: &str = "content-type: application/json\r\n";

fn serves_with_spin() -> bool {
    std::env::var_os("SPIN").is_some()
}

fn address(edge: &Edge) -> String {
    edge.url().trim_start_matches("http://").to_owned()
}

/// Connects from `from`, an address of this machine.
async fn connect(edge: &Edge, from: &str) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    // Sets a small receive buffer, so that the buffers are soon full and the host can't write more to a client that doesn't read.
    socket.set_recv_buffer_size(4096)?;
    socket.bind(from.parse().expect("an address"))?;
    socket
        .connect(address(edge).parse().expect("an address"))
        .await
}

/// Sends a GET on its own connection. Returns the status and the time until the answer was complete.
async fn get(edge: &Edge, path: &str) -> (String, Duration) {
    let began = Instant::now();
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    let answer = timeout(Duration::from_secs(20), async {
        let mut stream = TcpStream::connect(address(edge)).await?;
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        Ok::<_, std::io::Error>(String::from_utf8_lossy(&answer).into_owned())
    });
    let status = match answer.await {
        Ok(Ok(answer)) => answer.split(' ').nth(1).unwrap_or("none").to_owned(),
        Ok(Err(error)) => error.to_string(),
        Err(_) => "no answer in 20 s".to_owned(),
    };
    (status, began.elapsed())
}

/// Checks the median time of nine requests to each health route. A single request may be late by chance on a busy machine.
async fn check_health(edge: &Edge, during: &str) {
    for path in ["/api/health", "/.well-known/spin/health"] {
        let mut times = Vec::new();
        for _ in 0..9 {
            let (status, elapsed) = get(edge, path).await;
            assert_eq!(status, "200", "{path} during {during}");
            times.push(elapsed);
        }
        times.sort();
        println!(
            "{path} during {during}: {:?}, at most {:?}",
            times[4], times[8]
        );
        assert!(times[4] < HEALTH_LIMIT, "{path} during {during}: {times:?}");
    }
}

/// Opens connections that request a page again and again, and never read.
async fn unread_responses(edge: &Edge, count: usize, from: &str) -> Vec<TcpStream> {
    let requests = "GET /performance HTTP/1.1\r\nhost: localhost\r\n\r\n".repeat(PIPELINED);
    let mut streams = Vec::new();
    for _ in 0..count {
        let Ok(mut stream) = connect(edge, from).await else {
            continue;
        };
        let sent = timeout(
            Duration::from_millis(200),
            stream.write_all(requests.as_bytes()),
        );
        if matches!(sent.await, Ok(Ok(()))) {
            streams.push(stream);
        }
    }
    streams
}

/// Opens POST requests that send only the first byte of a 1 MB body.
async fn slow_bodies(edge: &Edge, count: usize, from: &str) -> Vec<TcpStream> {
    let request = format!(
        "POST /api/tasks HTTP/1.1\r\nhost: localhost\r\n{JSON}content-length: 1000000\r\n\r\n{{"
    );
    begin(edge, count, from, request.as_bytes()).await
}

/// Opens requests with a 410 KB header that never ends.
async fn unfinished_heads(edge: &Edge, count: usize, from: &str) -> Vec<TcpStream> {
    let request = format!(
        "GET /api/health HTTP/1.1\r\nhost: localhost\r\nx-long: {}",
        "a".repeat(410_000)
    );
    begin(edge, count, from, request.as_bytes()).await
}

async fn begin(edge: &Edge, count: usize, from: &str, bytes: &[u8]) -> Vec<TcpStream> {
    let mut streams = Vec::new();
    for _ in 0..count {
        let Ok(mut stream) = connect(edge, from).await else {
            continue;
        };
        // Keeps only the connections that the host accepts.
        if let Ok(Ok(())) = timeout(Duration::from_millis(500), stream.write_all(bytes)).await {
            streams.push(stream);
        }
    }
    streams
}

/// Sends a body of 1 MiB with a reference to a row that doesn't exist. A parser that builds a tree from this body would need a hundred
/// times as much memory. Returns the response's status.
async fn large_tree(edge: &Edge, from: &str) -> String {
    let head =
        r#"{"description":"x","assigned_to":"00000000-0000-4000-8000-000000000000","context":"#;
    let depth = ((1 << 20) - head.len() - 2) / 5;
    let mut body = head.to_owned();
    body.push_str(&r#"{"":"#.repeat(depth));
    body.push('1');
    body.push_str(&"}".repeat(depth + 1));
    let request = format!(
        "POST /api/tasks HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{JSON}content-length: {}\r\n\r\n{body}",
        body.len()
    );
    let answer = timeout(Duration::from_secs(20), async {
        let mut stream = connect(edge, from).await?;
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok::<_, std::io::Error>(answer)
    });
    match answer.await {
        Ok(Ok(answer)) => answer.split(' ').nth(1).unwrap_or("none").to_owned(),
        Ok(Err(error)) => error.to_string(),
        Err(_) => "no answer in 20 s".to_owned(),
    }
}

#[tokio::test]
async fn clients_that_read_nothing_do_not_block_other_clients() {
    if serves_with_spin() {
        return;
    }
    let _turn = TURN.lock().await;
    let database = Database::migrated().await;
    let edge = Edge::start(&database).await;
    // Attacks twice. The second attack comes from the address of the honest clients, as if a proxy forwarded all requests.
    for from in [ATTACKER, "127.0.0.1:0"] {
        let streams = unread_responses(&edge, 1000, from).await;
        assert!(streams.len() > 500, "{}", streams.len());
        // The attack's requests occupy the host for a while, and then only unread responses remain. After that, other clients must be served.
        let patience = Instant::now() + Duration::from_secs(10);
        while get(&edge, "/api/agents").await.0 != "200" {
            assert!(
                Instant::now() < patience,
                "no answer during the attack from {from}"
            );
        }
        check_health(&edge, "1,000 connections that don't read").await;
        for _ in 0..10 {
            assert_eq!(get(&edge, "/api/agents").await.0, "200");
        }
    }
    edge.log_line(&["warning: ", "--max-connections-per-client", "closed"])
        .await;
}

#[tokio::test]
async fn client_that_reads_nothing_is_disconnected_after_client_timeout() {
    if serves_with_spin() {
        return;
    }
    let _turn = TURN.lock().await;
    let database = Database::migrated().await;
    let edge = Edge::start_with(&database, &[], &["--client-timeout", "1s"]).await;
    let mut stream = unread_responses(&edge, 1, ATTACKER)
        .await
        .pop()
        .expect("one");
    sleep(Duration::from_secs(3)).await;
    // Reads what the host had already sent, and then the end of the stream. The host has closed the connection before sending all pages.
    let mut answers = Vec::new();
    let end = timeout(Duration::from_secs(10), stream.read_to_end(&mut answers)).await;
    assert!(end.is_ok(), "the connection is still open");
    let pages = String::from_utf8_lossy(&answers)
        .matches("HTTP/1.1 200")
        .count();
    assert!(pages < PIPELINED, "{pages}");
}

#[tokio::test]
async fn slow_request_bodies_do_not_block_other_clients() {
    if serves_with_spin() {
        return;
    }
    let _turn = TURN.lock().await;
    let database = Database::migrated().await;
    let edge = Edge::start(&database).await;
    for count in [400, 900] {
        let mut streams = slow_bodies(&edge, count, ATTACKER).await;
        check_health(&edge, "slow bodies").await;
        for stream in &mut streams {
            let _ = stream.write_all(b" ").await;
        }
        check_health(&edge, "slow bodies, a byte later").await;
        assert_eq!(get(&edge, "/api/agents").await.0, "200");
    }
}

/// Sends a POST with this header line and these parts of its body, with a pause before each. Returns the whole answer.
async fn post_in_parts(edge: &Edge, header: &str, parts: &[&str], pause: Duration) -> String {
    let head = format!(
        "POST /api/tasks HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{JSON}{header}\r\n\r\n"
    );
    let mut stream = TcpStream::connect(address(edge))
        .await
        .expect("the host listens");
    stream
        .write_all(head.as_bytes())
        .await
        .expect("the host reads");
    for part in parts {
        sleep(pause).await;
        stream
            .write_all(part.as_bytes())
            .await
            .expect("the host reads");
    }
    let mut answer = String::new();
    stream
        .read_to_string(&mut answer)
        .await
        .expect("the host answers");
    answer
}

#[tokio::test]
async fn body_sent_with_pauses_is_accepted() {
    let database = Database::migrated().await;
    let edge = Edge::start(&database).await;
    let body = r#"{"description":"in three parts"}"#;
    let parts = [&body[..1], &body[1..20], &body[20..]];
    let header = format!("content-length: {}", body.len());
    let answer = post_in_parts(&edge, &header, &parts, Duration::from_millis(100)).await;
    assert!(answer.starts_with("HTTP/1.1 201 "), "{answer}");
}

/// spin-sdk reads each part of a body into a buffer of 16 KiB. If the component kept these buffers, 8,000 parts would exceed its memory.
#[tokio::test]
async fn body_of_10_000_chunks_is_accepted() {
    let database = Database::migrated().await;
    let edge = Edge::start(&database).await;
    let body = format!("{{\"description\":\"x\"{}}}", " ".repeat(10_000));
    let chunk = |byte| format!("1\r\n{byte}\r\n");
    let chunks: Vec<_> = body
        .chars()
        .map(chunk)
        .chain(["0\r\n\r\n".to_owned()])
        .collect();
    let header = "transfer-encoding: chunked";
    let answer = post_in_parts(&edge, header, &[&chunks.concat()], Duration::ZERO).await;
    assert!(answer.starts_with("HTTP/1.1 201 "), "{answer}");
}

#[tokio::test]
async fn unfinished_heads_take_little_memory() {
    if serves_with_spin() {
        return;
    }
    let _turn = TURN.lock().await;
    let database = Database::migrated().await;
    let edge = Edge::start(&database).await;
    assert_eq!(get(&edge, "/api/agents").await.0, "200");
    let before = edge.memory_kib();
    let streams = unfinished_heads(&edge, 600, ATTACKER).await;
    check_health(&edge, "unfinished heads").await;
    let more = edge.memory_kib().saturating_sub(before);
    assert!(
        more < 64 * 1024,
        "{} connections with unfinished heads take {more} KiB",
        streams.len()
    );
}

#[tokio::test]
async fn a_head_over_the_limit_is_431() {
    if serves_with_spin() {
        return;
    }
    let _turn = TURN.lock().await;
    let database = Database::migrated().await;
    let edge = Edge::start(&database).await;
    for (bytes, expected) in [(30_000, "200"), (70_000, "431")] {
        let request = format!(
            "GET /api/health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\nx-long: {}\r\n\r\n",
            "a".repeat(bytes)
        );
        let mut stream = TcpStream::connect(address(&edge))
            .await
            .expect("the host listens");
        let _ = stream.write_all(request.as_bytes()).await;
        let mut answer = vec![0; 12];
        stream
            .read_exact(&mut answer)
            .await
            .expect("the host answers");
        assert_eq!(
            String::from_utf8_lossy(&answer),
            format!("HTTP/1.1 {expected}")
        );
    }
}

#[tokio::test]
async fn large_json_trees_are_422_and_do_not_affect_other_clients() {
    let database = Database::migrated().await;
    let edge = Edge::start(&database).await;
    for _ in 0..3 {
        let (statuses, (honest, _)) = tokio::join!(
            join_all((0..16).map(|_| large_tree(&edge, ATTACKER))),
            get(&edge, "/api/agents")
        );
        assert!(
            statuses.iter().all(|status| status == "422"),
            "{statuses:?}"
        );
        assert_eq!(honest, "200");
    }
    assert!(!edge.log().contains("an instance of"), "{}", edge.log());
}

/// The times of the honest clients' requests, and the requests that failed.
#[derive(Default)]
struct Honest {
    times: Vec<Duration>,
    failed: Vec<String>,
}

impl Honest {
    fn p95(&self) -> Duration {
        let mut times = self.times.clone();
        times.sort();
        times
            .get(times.len() * 95 / 100)
            .copied()
            .unwrap_or_default()
    }
}

/// Runs ten clients that read the agents, with a pause between two requests. They have their own thread, so that the attackers in
/// this process don't delay them.
async fn honest_clients(edge: &Arc<Edge>, duration: Duration) -> Honest {
    let edge = edge.clone();
    let measured = spawn_blocking(move || {
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("a runtime can be built");
        runtime.block_on(ten_clients(&edge, duration))
    });
    measured.await.expect("no client panics")
}

async fn ten_clients(edge: &Edge, duration: Duration) -> Honest {
    let until = Instant::now() + duration;
    let clients = (0..10).map(|_| async {
        let mut one = Honest::default();
        while Instant::now() < until {
            let (status, elapsed) = get(edge, "/api/agents").await;
            one.times.push(elapsed);
            if status != "200" {
                one.failed.push(status);
            }
            sleep(Duration::from_millis(50)).await;
        }
        one
    });
    let mut all = Honest::default();
    for one in join_all(clients).await {
        all.times.extend(one.times);
        all.failed.extend(one.failed);
    }
    all
}

/// Gives this thread the lowest priority. Real attackers run on other machines, so the attackers of this test must not take CPU time
/// from the host.
/// On other systems than Linux, or without `renice`, the thread keeps its priority.
fn lower_priority() {
    // /proc/thread-self is a symbolic link to PROCESS/task/THREAD, so the last segment is the thread's id.
    let thread = std::fs::read_link("/proc/thread-self").unwrap_or_default();
    if let Some(id) = thread.file_name() {
        let renice = Command::new("renice")
            .args(["-n", "19", "-p"])
            .arg(id)
            .output();
        drop(renice);
    }
}

#[tokio::test]
async fn concurrent_attacks_cause_no_failure_for_honest_clients() {
    if serves_with_spin() {
        return;
    }
    let _turn = TURN.lock().await;
    let seconds = if var("REZNET_TEST_ALL").is_ok() {
        60
    } else {
        10
    };
    let duration = Duration::from_secs(seconds);
    let database = Database::migrated().await;
    let edge = Arc::new(Edge::start(&database).await);
    let before = honest_clients(&edge, Duration::from_secs(5)).await;
    assert!(before.failed.is_empty(), "{:?}", before.failed);
    let memory_before = edge.memory_kib();
    let anonymous_before = edge.anonymous_memory_kib();

    let attackers = Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .on_thread_start(lower_priority)
        .build()
        .expect("a runtime can be built");
    let over = Arc::new(AtomicBool::new(false));
    let trees = Arc::new(AtomicU64::new(0));
    let attacks: Vec<_> = (0..4)
        .map(|number| {
            let (edge, over, trees) = (edge.clone(), over.clone(), trees.clone());
            attackers.spawn(async move {
                // Each attack comes from its own address, and replaces the connections that it loses.
                let from = format!("127.0.0.{}:0", 2 + number);
                let mut streams = Vec::new();
                while !over.load(Ordering::Relaxed) {
                    match number {
                        0 => streams
                            .extend(unread_responses(&edge, 1000 - streams.len(), &from).await),
                        1 => streams.extend(slow_bodies(&edge, 400 - streams.len(), &from).await),
                        2 => streams
                            .extend(unfinished_heads(&edge, 600 - streams.len(), &from).await),
                        _ => {
                            let statuses = join_all((0..3).map(|_| large_tree(&edge, &from))).await;
                            let refused = statuses.iter().filter(|status| *status == "422").count();
                            trees.fetch_add(refused as u64, Ordering::Relaxed);
                        }
                    }
                    sleep(Duration::from_secs(1)).await;
                    // Sends one more byte, which fails if the host has closed the connection.
                    streams.retain(|stream: &TcpStream| match stream.try_write(b"a") {
                        Ok(_) => true,
                        Err(error) => error.kind() == std::io::ErrorKind::WouldBlock,
                    });
                }
            })
        })
        .collect();
    let (during, ()) = tokio::join!(honest_clients(&edge, duration), async {
        for _ in 0..3 {
            sleep(duration / 4).await;
            check_health(&edge, "all attacks").await;
        }
    });
    over.store(true, Ordering::Relaxed);
    join_all(attacks).await;
    attackers.shutdown_background();
    let ratio = during.p95().as_secs_f64() / before.p95().as_secs_f64();
    let after = honest_clients(&edge, Duration::from_secs(2)).await;
    assert!(after.failed.is_empty(), "{:?}", after.failed);
    let ended = Instant::now();
    let mut memory_after = edge.memory_kib();
    while memory_after * 5 > memory_before * 6 && ended.elapsed() < MEMORY_TIMEOUT {
        sleep(Duration::from_secs(1)).await;
        memory_after = edge.memory_kib();
    }
    println!(
        "{} honest requests; p95 {:?} before, {:?} during ({ratio:.2} times); {} trees refused; memory {memory_before} KiB before, \
         {memory_after} KiB {:?} after, of these not in files {anonymous_before} and {} KiB",
        during.times.len(),
        before.p95(),
        during.p95(),
        trees.load(Ordering::Relaxed),
        ended.elapsed(),
        edge.anonymous_memory_kib()
    );
    assert!(during.failed.is_empty(), "{:?}", during.failed);
    // The target is 120 %, and the result is printed above. Some runs end a little over the target, because an attack also loads code that
    // was never used before. So the test fails only above 150 %.
    assert!(memory_after * 2 <= memory_before * 3);
    assert!(trees.load(Ordering::Relaxed) > 0);
    assert_eq!(get(&edge, "/api/health").await.0, StatusCode::OK.as_str());
}
