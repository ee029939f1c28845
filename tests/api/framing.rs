//! Requests on the wire. The host refuses a request if a proxy could find another end for it, and every client can read the response.
//! Some of these rules exist only in `reznet-host`. Their tests are skipped on Spin.

use std::time::Duration;

use support::{Database, Edge};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

fn serves_with_spin() -> bool {
    std::env::var_os("SPIN").is_some()
}

/// Sends a request that consists of these header lines and has no body. Returns the status of the response.
async fn status(edge: &Edge, lines: &[&str]) -> String {
    let answer = edge.raw((lines.join("\r\n") + "\r\n\r\n").as_bytes()).await;
    let status = answer.split(' ').nth(1);
    status
        .unwrap_or_else(|| panic!("{lines:?}: {answer:?}"))
        .to_owned()
}

const CLOSE: &str = "Connection: close";

#[tokio::test]
async fn a_host_that_is_missing_repeated_or_invalid_is_refused() {
    if serves_with_spin() {
        return;
    }
    let database = Database::migrated().await;
    let edge = Edge::start(&database).await;
    for (line, hosts, expected) in [
        ("GET /api/health HTTP/1.1", &["Host: a"][..], "200"),
        ("GET /api/health HTTP/1.1", &["Host: a:81"], "200"),
        ("GET /api/health HTTP/1.1", &["Host: a:"], "200"),
        ("GET /api/health HTTP/1.1", &["Host: [::1]:81"], "200"),
        ("GET /api/health HTTP/1.1", &["Host:  \t a  "], "200"),
        ("GET /api/health HTTP/1.0", &[], "200"),
        ("GET /api/health HTTP/1.0", &["Host: a"], "200"),
        ("GET http://a/api/health HTTP/1.1", &["Host: a"], "200"),
        ("GET http://a/api/health HTTP/1.1", &["Host: b"], "200"),
        ("GET http://a/api/health HTTP/1.1", &["Host:"], "200"),
        ("GET https://a:443/api/health HTTP/1.1", &["Host: a"], "200"),
        ("GET /api/health HTTP/1.1", &[], "400"),
        ("GET http://a/api/health HTTP/1.1", &[], "400"),
        ("GET /api/health HTTP/1.1", &["Host: a", "Host: a"], "400"),
        ("GET /api/health HTTP/1.1", &["Host: a", "host: b"], "400"),
        ("GET /api/health HTTP/1.0", &["Host: a", "Host: a"], "400"),
        ("GET /api/health HTTP/1.1", &["Host:"], "400"),
        ("GET /api/health HTTP/1.1", &["Host: user@a"], "400"),
        ("GET /api/health HTTP/1.1", &["Host: user:x@a"], "400"),
        ("GET /api/health HTTP/1.1", &["Host: a:abc"], "400"),
        ("GET /api/health HTTP/1.1", &["Host: a:65536"], "400"),
        ("GET /api/health HTTP/1.1", &["Host: a:80:80"], "400"),
        ("GET /api/health HTTP/1.1", &["Host: :80"], "400"),
        ("GET /api/health HTTP/1.1", &["Host: a b"], "400"),
        ("GET /api/health HTTP/1.1", &["Host: a/b"], "400"),
        ("GET /api/health HTTP/1.1", &["Host: a?b"], "400"),
        ("GET /api/health HTTP/1.1", &["Host: http://a"], "400"),
        ("GET /api/health HTTP/1.1", &["Host: b\u{fc}cher"], "400"),
        ("GET /api/health HTTP/1.1", &["Host: ::1"], "400"),
        ("GET /api/health HTTP/1.1", &["Host: [::1"], "400"),
        ("GET http://user@a/api/health HTTP/1.1", &["Host: a"], "400"),
        ("GET http://a:abc/api/health HTTP/1.1", &["Host: a"], "400"),
        ("GET ftp://a/api/health HTTP/1.1", &["Host: a"], "400"),
        ("GET a:80 HTTP/1.1", &["Host: a"], "400"),
        ("GET * HTTP/1.1", &["Host: a"], "400"),
        ("GET api/health HTTP/1.1", &["Host: a"], "400"),
        ("CONNECT a:80 HTTP/1.1", &["Host: a:80"], "501"),
    ] {
        let lines = [&[line], hosts, &[CLOSE]].concat();
        assert_eq!(status(&edge, &lines).await, expected, "{lines:?}");
    }
}

#[tokio::test]
async fn options_for_asterisk_is_204() {
    if serves_with_spin() {
        return;
    }
    let database = Database::migrated().await;
    let edge = Edge::start(&database).await;
    for host in ["Host: a", "Host:"] {
        let request = format!("OPTIONS * HTTP/1.1\r\n{host}\r\n{CLOSE}\r\n\r\n");
        let answer = edge.raw(request.as_bytes()).await.to_lowercase();
        assert!(answer.starts_with("http/1.1 204 "), "{answer}");
        assert!(!answer.contains("content-length"), "{answer}");
    }
}

#[tokio::test]
async fn ambiguous_framing_is_refused() {
    if serves_with_spin() {
        return;
    }
    let database = Database::migrated().await;
    let edge = Edge::start(&database).await;
    let post = "POST /api/tasks HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n";
    for (rest, expected) in [
        ("Content-Length: 2\r\n\r\n{}", "422"),
        ("Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}", "422"),
        ("Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}", "400"),
        ("Content-Length: 2, 3\r\n\r\n{}", "400"),
        ("Content-Length: +2\r\n\r\n{}", "400"),
        ("Content-Length: -2\r\n\r\n{}", "400"),
        ("Content-Length: 0x2\r\n\r\n{}", "400"),
        ("Content-Length: 99999999999999999999\r\n\r\n{}", "400"),
        (
            "Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
            "422",
        ),
        ("Transfer-Encoding: gzip\r\n\r\n{}", "400"),
        (
            "Transfer-Encoding: chunked, identity\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
            "400",
        ),
        ("X-Folded: a\r\n b\r\nContent-Length: 2\r\n\r\n{}", "400"),
        ("X-Bare: a\rb\r\nContent-Length: 2\r\n\r\n{}", "400"),
        ("X-Nul: a\0b\r\nContent-Length: 2\r\n\r\n{}", "400"),
        ("Content-Length : 2\r\n\r\n{}", "400"),
        ("X Spaced: a\r\nContent-Length: 2\r\n\r\n{}", "400"),
    ] {
        let request = format!("{post}{CLOSE}\r\n{rest}");
        let answer = edge.raw(request.as_bytes()).await;
        let status = answer.split(' ').nth(1);
        assert_eq!(status, Some(expected), "{rest:?}: {answer}");
    }
    let old = "POST /api/tasks HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n";
    assert!(edge.raw(old.as_bytes()).await.contains(" 400 "));
}

/// If a request has Content-Length and chunked Transfer-Encoding, a proxy that uses Content-Length would read the end of the body as the
/// next request.
#[tokio::test]
async fn request_with_content_length_and_chunked_closes_connection() {
    if serves_with_spin() {
        return;
    }
    let database = Database::migrated().await;
    let edge = Edge::start(&database).await;
    let smuggled = "GET /api/agents HTTP/1.1\r\nHost: localhost\r\n\r\n";
    for order in [
        "Content-Length: 7\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 7\r\n",
    ] {
        let request = format!(
            "POST /api/tasks HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n{order}\r\n2\r\n{{}}\r\n0\r\n\r\n{smuggled}"
        );
        let answer = edge.raw(request.as_bytes()).await;
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer}");
        assert!(
            answer.to_lowercase().contains("connection: close"),
            "{answer}"
        );
    }
}

/// Sends a body of `length` bytes, and reads the answer only after the whole body is sent, even if the server answers early.
async fn send_all(edge: &Edge, head: &str, length: usize) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(edge.url().trim_start_matches("http://")).await?;
    stream.write_all(head.as_bytes()).await?;
    let chunk = vec![b' '; 64 * 1024];
    for _ in 0..length / chunk.len() {
        stream.write_all(&chunk).await?;
    }
    // Waits, so that a reset has time to arrive. A reset deletes unread data, so the read below fails if the server reset the connection.
    tokio::time::sleep(Duration::from_millis(200)).await;
    let mut answer = vec![0; 4096];
    let read = stream.read(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer[..read]).into_owned())
}

#[tokio::test]
async fn client_still_sending_its_body_receives_the_early_refusal() {
    const LENGTH: usize = 10 * 1024 * 1024;
    if serves_with_spin() {
        return;
    }
    let database = Database::migrated().await;
    let variables = [("api_token", "a-token-of-the-framing-tests")];
    let edge = Edge::start_with(&database, &variables, &[]).await;
    let token = "Authorization: Bearer a-token-of-the-framing-tests\r\n";
    let json = "Content-Type: application/json\r\n";
    for (path, host, headers, expected) in [
        ("/api/tasks", "a", [token, json], "413"),
        ("/api/tasks", "a", [json, ""], "401"),
        ("/api/tasks", "a", [token, ""], "415"),
        ("/nothing", "a", [token, json], "404"),
        ("/api/tasks", "user@a", [token, json], "400"),
    ] {
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: {host}\r\n{}Content-Length: {LENGTH}\r\n\r\n",
            headers.concat()
        );
        for _ in 0..3 {
            let answer = send_all(&edge, &head, LENGTH).await;
            let answer = answer.unwrap_or_else(|error| panic!("{expected}: {error}"));
            assert_eq!(answer.split(' ').nth(1), Some(expected), "{answer}");
        }
    }
}

#[tokio::test]
async fn expect_100_continue_gets_only_the_final_refusal() {
    if serves_with_spin() {
        return;
    }
    let database = Database::migrated().await;
    let edge = Edge::start(&database).await;
    let head = "POST /api/tasks HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
        Expect: 100-continue\r\nContent-Length: 10485760\r\n\r\n";
    let answer = edge.raw(head.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    assert!(!answer.contains("100 Continue"), "{answer}");
}
