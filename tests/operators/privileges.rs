//! Tests of the responses and log lines if the component's role lacks a privilege.

use support::{Database, Edge};

use crate::{assert_unavailable, create_task, run};

#[tokio::test]
async fn missing_privilege_is_503_with_advice_to_grant_it() {
    for (revoke, key) in [
        ("REVOKE ALL ON tasks FROM reznet_app", None),
        (
            "REVOKE EXECUTE ON FUNCTION write_once FROM PUBLIC, reznet_app",
            Some("a-key"),
        ),
        (
            "REVOKE ALL ON idempotency_keys FROM reznet_app",
            Some("a-key"),
        ),
    ] {
        let database = Database::migrated().await;
        run(&database, revoke).await;
        let edge = Edge::start(&database).await;
        let answer = create_task(&edge, key).await;
        let parts = [
            "DATABASE NOT PERMITTED: task_create",
            "42501",
            "run scripts/migrate grant",
        ];
        assert_unavailable(&edge, &answer, &parts).await;
    }
}
