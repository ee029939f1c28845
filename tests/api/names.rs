//! Unicode in names. Two names with the same characters are equal, even if clients sent them in different normalization forms. Names
//! with invisible characters are refused.

use http::{Method, StatusCode};
use serde_json::json;
use support::{Database, Edge};

use super::{agent, channel, faults, text};

#[tokio::test]
async fn composed_and_decomposed_channel_names_are_the_same() {
    let database = Database::migrated().await;
    let edge = Edge::start(&database).await;
    let create = async |name: &str| edge.post("/api/channels", &json!({"name": name})).await;
    let first = create("cafe\u{301}").await;
    assert_eq!(first.status, StatusCode::CREATED);
    assert_eq!(first.json()["name"], "caf\u{e9}");
    assert_eq!(create("caf\u{e9}").await.status, StatusCode::CONFLICT);
    assert_eq!(create("cafe\u{301}").await.status, StatusCode::CONFLICT);
    // The client sends 200 code points, but the normalized name has 100, which is the limit.
    let longest = create(&"e\u{301}".repeat(100)).await;
    assert_eq!(longest.json()["name"], "\u{e9}".repeat(100));
}

#[tokio::test]
async fn names_with_invisible_characters_are_refused() {
    let database = Database::migrated().await;
    let edge = Edge::start(&database).await;
    let general = format!("/api/channels/{}", channel(&edge, "general").await);
    for name in [
        " general",
        "general ",
        "gen  eral",
        "gen\u{200b}eral",
        "gen\u{200d}eral",
        "\u{202e}lareneg",
        "gen\u{ad}eral",
        "gen\u{a0}eral",
        "\u{feff}general",
        "gen\teral",
        "\u{3164}",
        "general\u{fe0f}",
    ] {
        let body = json!({"name": name});
        let created = edge.post("/api/channels", &body).await;
        assert_eq!(faults(&created), ["/name"], "{name:?}");
        let renamed = edge.patch(&general, &body).await;
        assert_eq!(faults(&renamed), ["/name"], "{name:?}");
        let message = json!({"content": "x", "author_name": name});
        let written = edge.post(&format!("{general}/messages"), &message).await;
        assert_eq!(faults(&written), ["/author_name"], "{name:?}");
    }
    let answer = edge
        .post("/api/channels", &json!({"name": "a\u{200b}b"}))
        .await;
    assert_eq!(
        answer.json()["detail"],
        "/name: must not contain U+200B where it is invisible"
    );
}

#[tokio::test]
async fn names_of_every_script_and_emoji_are_accepted() {
    let database = Database::migrated().await;
    let edge = Edge::start(&database).await;
    for name in [
        "\u{645}\u{6cc}\u{200c}\u{631}\u{648}\u{645}",
        "\u{915}\u{94d}\u{200d}\u{937}",
        "\u{1f468}\u{200d}\u{1f469}\u{200d}\u{1f467}",
        "\u{2764}\u{fe0f}",
        "\u{65e5}\u{672c}\u{8a9e}",
        "Stra\u{df}e 1",
    ] {
        let answer = edge.post("/api/channels", &json!({"name": name})).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{name}: {answer:?}");
        assert_eq!(answer.json()["name"], name);
    }
}

#[tokio::test]
async fn rows_with_now_invalid_names_can_be_read_and_updated() {
    let database = Database::migrated().await;
    let edge = Edge::start(&database).await;
    let client = database.client().await;
    client
        .batch_execute(
            "INSERT INTO channels (name) VALUES (' gen' || U&'\\200B' || 'eral');
             INSERT INTO agents (name, agent_type) VALUES ('@..', 'qa')",
        )
        .await
        .unwrap();
    let old = channel(&edge, " gen\u{200b}eral").await;
    let path = format!("/api/channels/{old}");
    let answer = edge.patch(&path, &json!({"topic": "old"})).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.json()["name"], " gen\u{200b}eral");
    let message = edge
        .post(&format!("{path}/messages"), &json!({"content": "x"}))
        .await;
    assert_eq!(message.status, StatusCode::CREATED);
    let answer = edge.patch(&path, &json!({"name": "renamed"})).await;
    assert_eq!(answer.json()["name"], "renamed");

    let dots = format!("/api/agents/{}", agent(&edge, "@..").await);
    let answer = edge.patch(&dots, &json!({"is_busy": true})).await;
    assert_eq!(answer.json()["name"], "@..");
    let answer = edge
        .request(Method::PATCH, &format!("{dots}/deactivate"))
        .await;
    assert_eq!(answer.status, StatusCode::OK);
}

#[tokio::test]
async fn agent_names_that_begin_with_a_dot_are_refused() {
    let database = Database::migrated().await;
    let edge = Edge::start(&database).await;
    let backend = format!("/api/agents/{}", agent(&edge, "backend").await);
    for name in [".", "..", "@.", "@..", "...", ".hidden"] {
        let answer = edge
            .post("/api/agents", &json!({"name": name, "agent_type": "qa"}))
            .await;
        assert_eq!(faults(&answer), ["/name"], "{name}");
        let answer = edge.patch(&backend, &json!({"name": name})).await;
        assert_eq!(faults(&answer), ["/name"], "{name}");
    }
    for name in ["a.b", "a..", "-a", "_"] {
        let answer = edge
            .post("/api/agents", &json!({"name": name, "agent_type": "qa"}))
            .await;
        assert_eq!(text(&answer.json(), "name"), format!("@{name}"));
    }
}
