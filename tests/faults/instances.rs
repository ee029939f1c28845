//! An instance that traps: what it had is answered, and nobody else notices.

use futures_util::future::join_all;
use http::StatusCode;
use support::{Database, Edge};

#[tokio::test]
async fn an_instance_that_traps_answers_all_it_had_and_takes_nobody_else_down() {
    let database = Database::migrated().await;
    let edge = Edge::start_test_build(&database, &[]).await;
    assert_eq!(edge.get("/test/agent-loop").await.status, StatusCode::OK);
    let (mut answered, mut failed) = (0, 0);
    for _ in 0..5 {
        // Slow ones, so that the trap finds some under way in its instance.
        let paths = (0..20).map(|n| match n {
            10 => "/test/trap",
            _ => "/test/agent-loop?times=20",
        });
        // No answer at all fails the test.
        for answer in join_all(paths.map(|path| edge.get(path))).await {
            match answer.status {
                StatusCode::OK => answered += 1,
                StatusCode::INTERNAL_SERVER_ERROR => failed += 1,
                _ => panic!("{answer:?}"),
            }
        }
    }
    assert!(failed >= 5, "the traps at least: {failed}");
    // Sixteen at once are an instance's at the most.
    assert!(failed <= 5 * 16, "others failed too: {failed}");
    assert_eq!(answered + failed, 100);
    let path = "/api/agents/name/orchestrator";
    for _ in 0..20 {
        assert_eq!(edge.get(path).await.status, StatusCode::OK);
    }
    edge.log_line(&["error: an instance of reznet-edge ended: "])
        .await;
    let told = edge.log();
    let told = told.matches(" got no answer from reznet-edge: ").count();
    assert_eq!(told, failed, "each has its line:\n{}", edge.log());
}
