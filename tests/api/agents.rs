//! /api/agents

use http::StatusCode;
use support::{Database, Edge};

#[tokio::test]
async fn agent_list_is_the_active_ones_oldest_first() {
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

    let names = |answer: &support::Answer| -> Vec<String> {
        let agents = answer.json();
        let agents = agents.as_array().expect("a list is a bare array");
        agents
            .iter()
            .map(|agent| agent["name"].as_str().expect("named").to_owned())
            .collect()
    };

    let active = edge.get("/api/agents").await;
    assert_eq!(active.status, StatusCode::OK);
    assert_eq!(active.header("content-type"), "application/json");
    assert_eq!(active.query_count(), 1);
    let expected = [
        "@orchestrator",
        "@backend",
        "@frontend",
        "@devops",
        "@analyst",
    ];
    assert_eq!(names(&active), expected);
    assert_eq!(
        names(&edge.get("/api/agents?active_only=true").await),
        expected
    );

    let all = names(&edge.get("/api/agents?active_only=false").await);
    assert_eq!(all.len(), 6);
    assert!(all.contains(&"@qa".to_owned()));

    let developers = edge.get("/api/agents?agent_type=developer").await;
    assert_eq!(names(&developers), ["@backend", "@frontend"]);
    assert_eq!(names(&edge.get("/api/agents?agent_type=qa").await), [""; 0]);
    let inactive = edge.get("/api/agents?agent_type=qa&active_only=0").await;
    assert_eq!(names(&inactive), ["@qa"]);
    assert_eq!(
        names(&edge.get("/api/agents?agent_type=nobody").await),
        [""; 0]
    );
}

#[tokio::test]
async fn agent_get_by_name_takes_it_with_and_without_the_at() {
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
async fn agent_get_has_every_member() {
    let database = Database::migrated().await;
    let edge = Edge::start(&database).await;
    let by_name = edge.get("/api/agents/name/backend").await.json();
    let id = by_name["id"].as_str().expect("an id");
    let answer = edge.get(&format!("/api/agents/{id}")).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.query_count(), 1);
    let agent = answer.json();
    assert_eq!(agent, by_name);
    let members: Vec<_> = agent
        .as_object()
        .expect("an object")
        .keys()
        .cloned()
        .collect();
    let mut expected = [
        "id",
        "name",
        "agent_type",
        "persona",
        "config",
        "is_active",
        "is_busy",
        "created_at",
        "updated_at",
    ];
    expected.sort_unstable();
    assert_eq!(members, expected);
    assert_eq!(agent["agent_type"], "developer");
    assert_eq!(agent["persona"]["role"], "Backend developer");
    assert_eq!(agent["persona"]["capabilities"][0], "apis");
    assert_eq!(agent["is_active"], true);
    let created_at = agent["created_at"].as_str().expect("a time");
    assert!(
        created_at.ends_with("+00:00"),
        "RFC 3339 in UTC: {created_at}"
    );
}

#[tokio::test]
async fn agent_get_tells_a_wrong_id_from_an_unknown_one() {
    let database = Database::migrated().await;
    let edge = Edge::start(&database).await;
    let unknown = edge
        .get("/api/agents/00000000-0000-0000-0000-000000000000")
        .await;
    assert_eq!(unknown.status, StatusCode::NOT_FOUND);
    let wrong = edge.get("/api/agents/not-a-uuid").await;
    assert_eq!(wrong.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(wrong.query_count(), 0);
    assert_eq!(wrong.json()["errors"][0]["parameter"], "id");
}

#[tokio::test]
async fn every_fault_of_a_request_is_named_in_one_answer() {
    let database = Database::migrated().await;
    let edge = Edge::start(&database).await;
    let answer = edge
        .get("/api/agents?active_only=maybe&agent_type=&bogus=1")
        .await;
    assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(answer.query_count(), 0);
    let problem = answer.json();
    let parameters: Vec<_> = problem["errors"]
        .as_array()
        .expect("errors")
        .iter()
        .map(|fault| fault["parameter"].as_str().expect("named"))
        .collect();
    assert_eq!(parameters, ["active_only", "agent_type", "bogus"]);
}

#[tokio::test]
async fn hostile_values_are_refused_never_a_server_error() {
    let database = Database::migrated().await;
    let edge = Edge::start(&database).await;
    let long = "a".repeat(10_000);
    for path in [
        "/api/agents/name/a%00b".to_owned(),
        "/api/agents/name/%ff%fe".to_owned(),
        "/api/agents?agent_type=%00".to_owned(),
        "/api/agents?agent_type=%ff".to_owned(),
        "/api/agents/'%20OR%201=1%20--".to_owned(),
        "/api/agents/%2e%2e%2f".to_owned(),
        format!("/api/agents/name/{long}"),
        format!("/api/agents?agent_type={long}"),
        format!("/api/agents?{long}=1"),
    ] {
        let answer = edge.get(&path).await;
        assert!(answer.status.is_client_error(), "{path}: {answer:?}");
        assert_eq!(answer.query_count(), 0, "{path}");
    }
    let injected = edge.get("/api/agents?agent_type='%20OR%20'1'='1").await;
    assert_eq!(injected.status, StatusCode::OK);
    assert_eq!(injected.json(), serde_json::json!([]));
}
