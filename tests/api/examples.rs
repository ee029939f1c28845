//! The examples, run as they stand.

use support::{Database, Edge, project};
use tokio::process::Command;

#[tokio::test]
async fn the_working_day_ends_with_its_workflow_completed() {
    let database = Database::migrated().await;
    let edge = Edge::start(&database).await;
    let output = Command::new(project().join("examples/working-day"))
        .arg(edge.url())
        .output()
        .await
        .unwrap();
    let (stdout, stderr) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{stdout}\n{stderr}");
    assert!(stdout.contains(": completed\n"), "{stdout}");
    assert!(stdout.contains("x-query-count: 1"), "{stdout}");
}
