//! Statements that fail because an object is missing. The error may report missing migrations only if a migration creates this object.

use http::StatusCode;
use support::{Database, Edge};

use crate::{assert_unavailable, create_task, line_about, run};

#[tokio::test]
async fn missing_object_in_a_foreign_trigger_is_not_a_missing_migration() {
    for (body, sqlstate) in [
        ("INSERT INTO audit VALUES (1)", "42P01"),
        ("INSERT INTO nowhere.audit VALUES (1)", "42P01"),
        ("PERFORM audit(NEW.id)", "42883"),
        ("PERFORM t.nothing FROM public.tasks AS t", "42703"),
        ("PERFORM 'x'::audit_kind", "42704"),
        (
            "INSERT INTO public.channels (name) VALUES ('x') ON CONFLICT (name, id) DO NOTHING",
            "42P10",
        ),
        ("PERFORM nowhere.audit(NEW.id)", "3F000"),
    ] {
        let database = Database::migrated().await;
        run(
            &database,
            &format!(
                "CREATE FUNCTION audit_tasks() RETURNS trigger LANGUAGE plpgsql AS $$
                 BEGIN {body}; RETURN NEW; END $$;
                 CREATE TRIGGER audit AFTER INSERT ON tasks FOR EACH ROW EXECUTE FUNCTION audit_tasks();"
            ),
        )
        .await;
        let edge = Edge::start(&database).await;
        for key in [None, Some("a-key")] {
            let answer = create_task(&edge, key).await;
            let status = StatusCode::INTERNAL_SERVER_ERROR;
            assert_eq!(answer.status, status, "{body}: {}", edge.log());
            let line = line_about(&edge, &answer).await;
            for part in ["INTERNAL ERROR: ", sqlstate, "audit_tasks()"] {
                assert!(line.contains(part), "{part}: {line}");
            }
            assert!(!line.contains("run scripts/migrate"), "{line}");
        }
        assert_eq!(edge.get("/api/agents").await.status, StatusCode::OK);
    }
}

#[tokio::test]
async fn missing_object_of_a_migration_is_503_with_advice_to_migrate() {
    for (change, key) in [
        ("ALTER TABLE tasks RENAME TO assignments", None),
        ("ALTER TABLE tasks RENAME TO assignments", Some("a-key")),
        ("ALTER TABLE tasks RENAME COLUMN priority TO urgency", None),
        (
            "ALTER TABLE tasks RENAME COLUMN priority TO urgency",
            Some("a-key"),
        ),
        ("ALTER TABLE idempotency_keys RENAME TO keys", Some("a-key")),
        ("DROP FUNCTION write_once", Some("a-key")),
    ] {
        let database = Database::migrated().await;
        run(&database, change).await;
        let edge = Edge::start(&database).await;
        let answer = create_task(&edge, key).await;
        let parts = ["DATABASE NOT MIGRATED: task_create", "run scripts/migrate"];
        assert_unavailable(&edge, &answer, &parts).await;
        let detail = answer.json()["detail"].to_string();
        assert!(detail.contains("Run scripts/migrate"), "{change}: {detail}");
    }
}
