//! Tests of faults in the host: a Wasm instance traps, or the process that reads the host's log ends.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use http::StatusCode;
use support::{Database, Edge, project};

#[tokio::test]
async fn requests_of_a_trapped_instance_get_500_and_others_keep_running() {
    let database = Database::migrated().await;
    let edge = Edge::start_test_build(&database, &[]).await;
    assert_eq!(edge.get("/test/agent-loop").await.status, StatusCode::OK);
    let (mut answered, mut failed) = (0, 0);
    for _ in 0..5 {
        // Sends slow requests together with the trapping request, so that the instance also serves other requests when it traps.
        let paths = (0..20).map(|n| match n {
            10 => "/test/trap",
            _ => "/test/agent-loop?times=20",
        });
        // `get` panics if a request gets no answer, which fails the test.
        for answer in join_all(paths.map(|path| edge.get(path))).await {
            match answer.status {
                StatusCode::OK => answered += 1,
                StatusCode::INTERNAL_SERVER_ERROR => failed += 1,
                _ => panic!("{answer:?}"),
            }
        }
    }
    assert!(
        failed >= 5,
        "at least the five trapping requests must fail: {failed}"
    );
    // An instance serves at most sixteen requests at once, so each of the five traps makes at most sixteen requests fail.
    assert!(
        failed <= 5 * 16,
        "requests to other instances failed too: {failed}"
    );
    assert_eq!(answered + failed, 100);
    let path = "/api/agents/name/orchestrator";
    for _ in 0..20 {
        assert_eq!(edge.get(path).await.status, StatusCode::OK);
    }
    edge.log_line(&["error: an instance of reznet-edge ended: "])
        .await;
    let told = edge.log();
    let told = told.matches(" got no answer from reznet-edge: ").count();
    assert_eq!(
        told,
        failed,
        "each failed request must have a log line:\n{}",
        edge.log()
    );
}

#[test]
fn host_with_closed_log_pipes_stops_on_sigterm() {
    let mut host = Command::new(project().join("target/host/reznet-host"))
        .current_dir(project())
        .args(["--listen", "127.0.0.1:0"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the host starts: scripts/test builds it");
    let mut lines = BufReader::new(host.stdout.take().expect("piped")).lines();
    let serving = lines.any(|line| line.is_ok_and(|line| line.starts_with("Serving ")));
    assert!(serving, "the host doesn't serve");
    drop((lines, host.stderr.take()));
    let asked = Command::new("kill")
        .args(["-TERM", &host.id().to_string()])
        .status();
    assert!(asked.is_ok_and(|status| status.success()), "no kill");
    let patience = Instant::now() + Duration::from_secs(20);
    let status = loop {
        if let Ok(Some(status)) = host.try_wait() {
            break status;
        }
        if Instant::now() > patience {
            let _ = host.kill();
            panic!("the host doesn't end");
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    assert!(status.success(), "{status}");
}
