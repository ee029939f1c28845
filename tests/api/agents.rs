//! /api/agents

use futures_util::future::join_all;
use http::{Method, StatusCode};
use serde_json::json;
use support::{Database, Edge};

use super::{NOBODY, agent, channel, each, faults, text};

#[tokio::test]
async fn agent_list_returns_active_agents_oldest_first() {
    let database = Database::migrated().await;
    let client = database.client().await;
    client
        .execute(
            "UPDATE agents SET is_active = false WHERE name = '@qa'",
            &[],
        )
        .await
        .unwrap();
    let edge = Edge::start(&database).await;
    let names = async |path: &str| each(&edge.get(path).await, "name");

    let expected = [
        "@orchestrator",
        "@backend",
        "@frontend",
        "@devops",
        "@analyst",
    ];
    assert_eq!(names("/api/agents").await, expected);
    assert_eq!(names("/api/agents?active_only=true").await, expected);
    let all = names("/api/agents?active_only=False").await;
    assert_eq!(all.len(), 6);
    assert!(all.contains(&"@qa".to_owned()));
    assert_eq!(
        names("/api/agents?agent_type=developer").await,
        ["@backend", "@frontend"]
    );
    assert_eq!(names("/api/agents?agent_type=qa").await, [""; 0]);
    assert_eq!(
        names("/api/agents?agent_type=qa&active_only=0").await,
        ["@qa"]
    );
    assert_eq!(names("/api/agents?agent_type=nobody").await, [""; 0]);
    assert_eq!(
        names("/api/agents?limit=2&offset=1").await,
        ["@backend", "@frontend"]
    );
}

#[tokio::test]
async fn agent_get_by_name_accepts_name_with_or_without_at_sign() {
    let database = Database::migrated().await;
    let edge = Edge::start(&database).await;
    for name in ["orchestrator", "@orchestrator", "%40orchestrator"] {
        let answer = edge.get(&format!("/api/agents/name/{name}")).await;
        assert_eq!(answer.status, StatusCode::OK, "{name}");
        assert_eq!(answer.query_count(), 1);
        assert_eq!(answer.json()["name"], "@orchestrator");
    }
    let answer = edge.get("/api/agents/name/nobody").await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
    assert_eq!(
        answer.json()["detail"],
        "There is no agent with the name @nobody."
    );
    assert_eq!(answer.query_count(), 1);
}

#[tokio::test]
async fn agent_get_returns_an_agent_that_the_migration_inserted() {
    let database = Database::migrated().await;
    let edge = Edge::start(&database).await;
    let by_name = edge.get("/api/agents/name/backend").await.json();
    let answer = edge
        .get(&format!("/api/agents/{}", text(&by_name, "id")))
        .await;
    assert_eq!(answer.query_count(), 1);
    let agent = answer.json();
    assert_eq!(agent, by_name);
    assert_eq!(agent["agent_type"], "developer");
    assert_eq!(agent["persona"]["role"], "Backend developer");
    assert_eq!(agent["persona"]["capabilities"][0], "apis");
    assert!(
        text(&agent, "created_at").ends_with('Z'),
        "RFC 3339 in UTC: {agent}"
    );
}

#[tokio::test]
async fn agent_create_stores_the_body_and_returns_its_location() {
    let database = Database::migrated().await;
    let edge = Edge::start(&database).await;
    let body = json!({
        "name": "writer", "agent_type": "writer", "is_active": false,
        "persona": {"role": "Writer", "capabilities": ["editing", "ünïcode"]},
        "config": {"nested": {"list": [1, 2.5, null, "\u{1F980}"]}},
    });
    let answer = edge.post("/api/agents", &body).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
    let created = answer.json();
    assert_eq!(created["name"], "@writer");
    assert_eq!(created["is_active"], false);
    assert_eq!(created["is_busy"], false);
    assert_eq!(created["persona"], body["persona"]);
    assert_eq!(created["config"], body["config"]);
    assert_eq!(edge.get(answer.header("location")).await.json(), created);

    let again = edge
        .post(
            "/api/agents",
            &json!({"name": "@writer", "agent_type": "writer"}),
        )
        .await;
    assert_eq!(again.status, StatusCode::CONFLICT);
    assert_eq!(
        again.json()["detail"],
        "An agent with this name already exists. Choose another name."
    );
}

#[tokio::test]
async fn agent_create_reports_every_field_error() {
    let database = Database::migrated().await;
    let edge = Edge::start(&database).await;
    let body = json!({"name": "a b", "persona": {"role": 1, "mood": "good"}, "config": {"a": "\u{0}"}, "bogus": 1});
    let answer = edge.post("/api/agents", &body).await;
    let expected = [
        "/name",
        "/agent_type",
        "/persona/role",
        "/persona/mood",
        "/config",
        "/bogus",
    ];
    assert_eq!(faults(&answer), expected);
    assert_eq!(answer.query_count(), 0);
}

#[tokio::test]
async fn agent_update_changes_only_given_fields() {
    let database = Database::migrated().await;
    let edge = Edge::start(&database).await;
    let path = format!("/api/agents/{}", agent(&edge, "backend").await);
    let before = edge.get(&path).await.json();
    let answer = edge
        .patch(&path, &json!({"name": "server", "is_busy": true}))
        .await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    let after = answer.json();
    assert_eq!(after["name"], "@server");
    assert_eq!(after["is_busy"], true);
    assert_eq!(after["persona"], before["persona"]);
    assert!(text(&after, "updated_at") > text(&before, "updated_at"));
    assert_eq!(edge.get(&path).await.json(), after);

    let taken = edge.patch(&path, &json!({"name": "qa"})).await;
    assert_eq!(taken.status, StatusCode::CONFLICT);
    let wrong = edge
        .patch(&path, &json!({"is_busy": null, "created_at": "now"}))
        .await;
    assert_eq!(faults(&wrong), ["/is_busy", "/created_at"]);
}

#[tokio::test]
async fn agent_activate_and_deactivate_return_the_new_state() {
    let database = Database::migrated().await;
    let edge = Edge::start(&database).await;
    let path = format!("/api/agents/{}", agent(&edge, "backend").await);
    for (action, is_active, status, message) in [
        (
            "deactivate",
            false,
            "offline",
            "Agent @backend is inactive now.",
        ),
        ("activate", true, "online", "Agent @backend is active now."),
    ] {
        let answer = edge
            .request(Method::PATCH, &format!("{path}/{action}"))
            .await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        assert_eq!(answer.json()["is_active"], is_active);
        assert_eq!(answer.json()["message"], message);
        let answer = edge.get(&format!("{path}/status")).await;
        assert_eq!(answer.json()["status"], status);
        assert_eq!(answer.json()["is_busy"], false);
    }
}

#[tokio::test]
async fn agent_messages_returns_its_own_messages_newest_first() {
    let database = Database::migrated().await;
    let edge = Edge::start(&database).await;
    let (backend, qa) = (agent(&edge, "backend").await, agent(&edge, "qa").await);
    let general = channel(&edge, "general").await;
    for (author, content) in [(&backend, "one"), (&qa, "two"), (&backend, "three")] {
        let body = json!({"author_type": "agent", "author_id": author, "content": content});
        let answer = edge
            .post(&format!("/api/channels/{general}/messages"), &body)
            .await;
        assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
    }
    let body = json!({"author_id": backend, "author_name": "mallory", "content": "not mine"});
    edge.post(&format!("/api/channels/{general}/messages"), &body)
        .await;
    let answer = edge.get(&format!("/api/agents/{backend}/messages")).await;
    assert_eq!(each(&answer, "content"), ["three", "one"]);
    let silent = agent(&edge, "devops").await;
    let answer = edge.get(&format!("/api/agents/{silent}/messages")).await;
    assert_eq!(answer.json(), json!([]));
}

#[tokio::test]
async fn twenty_concurrent_requests_get_the_same_dm_channel() {
    let database = Database::migrated().await;
    let edge = Edge::start(&database).await;
    for name in ["backend", "qa", "devops", "analyst"] {
        let id = agent(&edge, name).await;
        let path = format!("/api/agents/{id}/dm-channel");
        let answers = join_all((0..20).map(|_| edge.get(&path))).await;
        let first = answers[0].json();
        assert_eq!(first["channel_type"], "dm");
        assert_eq!(first["dm_agent_id"], id);
        for answer in &answers {
            assert_eq!(answer.json(), first);
        }
    }
    let count = database.client().await;
    let count = count
        .query_one(
            "SELECT count(*) FROM channels WHERE channel_type = 'dm'",
            &[],
        )
        .await;
    assert_eq!(count.unwrap().get::<_, i64>(0), 4);
}

#[tokio::test]
async fn dm_channel_tolerates_name_conflict_and_is_unarchived_by_get() {
    let database = Database::migrated().await;
    let edge = Edge::start(&database).await;
    let id = agent(&edge, "backend").await;
    let taken = edge
        .post("/api/channels", &json!({"name": format!("dm-{id}")}))
        .await;
    assert_eq!(taken.status, StatusCode::CREATED, "{taken:?}");
    let path = format!("/api/agents/{id}/dm-channel");
    let channel = edge.get(&path).await.json();
    assert_eq!(channel["dm_agent_id"], id);
    edge.request(
        Method::DELETE,
        &format!("/api/channels/{}", text(&channel, "id")),
    )
    .await;
    let again = edge.get(&path).await.json();
    assert_eq!(again["id"], channel["id"]);
    assert_eq!(again["is_archived"], false);
}

#[tokio::test]
async fn numbers_in_config_are_returned_exactly_or_refused() {
    let database = Database::migrated().await;
    let edge = Edge::start(&database).await;
    let config = r#"{"n": 123456789012345678901234567890, "d": 0.1234567890123456789}"#;
    let body = format!("{{\"name\": \"exact\", \"agent_type\": \"qa\", \"config\": {config}}}");
    let request = http::Request::post(format!("{}/api/agents", edge.url()))
        .header("content-type", "application/json")
        .body(body.into())
        .unwrap();
    let answer = edge.send(request).await;
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    for number in ["123456789012345678901234567890", "0.1234567890123456789"] {
        assert!(text.contains(number), "{text}");
    }
    let endless = json!({"name": "endless", "agent_type": "qa", "config": {"n": vec![1e308; 60]}});
    assert_eq!(
        faults(&edge.post("/api/agents", &endless).await),
        ["/config"]
    );
}

#[tokio::test]
async fn hostile_path_and_query_values_are_422_or_404() {
    let database = Database::migrated().await;
    let edge = Edge::start(&database).await;
    let long = "a".repeat(10_000);
    for path in [
        "/api/agents/name/a%00b".to_owned(),
        "/api/agents/name/%ff%fe".to_owned(),
        "/api/agents?agent_type=%00".to_owned(),
        "/api/agents?agent_type=%ff".to_owned(),
        "/api/agents?agent_type='%20OR%20'1'='1".to_owned(),
        "/api/agents?limit=0".to_owned(),
        "/api/agents?limit=201".to_owned(),
        "/api/agents?limit=99999999999999999999".to_owned(),
        "/api/agents?offset=-1".to_owned(),
        "/api/agents?limit=1&limit=2".to_owned(),
        format!("/api/agents?cursor=99999999999999999999.{NOBODY}"),
        "/api/agents?cursor=x".to_owned(),
        "/api/agents/'%20OR%201=1%20--".to_owned(),
        "/api/agents/%2e%2e%2f".to_owned(),
        format!("/api/agents/name/{long}"),
        format!("/api/agents?agent_type={long}"),
        format!("/api/agents?{long}=1"),
    ] {
        let answer = edge.get(&path).await;
        assert_eq!(
            answer.status,
            StatusCode::UNPROCESSABLE_ENTITY,
            "{path}: {answer:?}"
        );
        assert_eq!(answer.query_count(), 0, "{path}");
    }
    let injected = edge.get("/api/agents/name/'%20OR%20'1'='1").await;
    assert_eq!(injected.status, StatusCode::NOT_FOUND);
}
