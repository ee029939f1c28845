//! /api/channels

use http::{Method, StatusCode};
use serde_json::json;
use support::{Database, Edge};

use super::{agent, channel, each, faults, text};

#[tokio::test]
async fn channel_list_omits_archived_channels() {
    let database = Database::migrated().await;
    let edge = Edge::start(&database).await;
    let all = ["general", "development", "operations", "planning"];
    assert_eq!(each(&edge.get("/api/channels").await, "name"), all);
    let path = format!("/api/channels/{}", channel(&edge, "planning").await);
    let answer = edge.request(Method::DELETE, &path).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.json()["is_archived"], true);
    assert_eq!(
        answer.json()["message"],
        "Channel planning is archived; its messages stay."
    );
    assert_eq!(each(&edge.get("/api/channels").await, "name"), all[..3]);
    assert_eq!(edge.get(&path).await.json()["is_archived"], true);
}

#[tokio::test]
async fn channel_create_and_update_refuse_a_taken_name() {
    let database = Database::migrated().await;
    let edge = Edge::start(&database).await;
    let answer = edge
        .post(
            "/api/channels",
            &json!({"name": "release-2", "topic": "What goes in"}),
        )
        .await;
    assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
    let path = answer.header("location").to_owned();
    assert_eq!(edge.get(&path).await.json(), answer.json());
    assert_eq!(answer.json()["channel_type"], "public");

    let taken = edge
        .post("/api/channels", &json!({"name": "general"}))
        .await;
    assert_eq!(taken.status, StatusCode::CONFLICT);
    assert_eq!(
        taken.json()["detail"],
        "A channel with this name already exists. Choose another name."
    );
    let taken = edge.patch(&path, &json!({"name": "general"})).await;
    assert_eq!(taken.status, StatusCode::CONFLICT);

    let answer = edge.patch(&path, &json!({"channel_type": "private"})).await;
    assert_eq!(
        answer.json()["topic"],
        "What goes in",
        "a PATCH without topic must not change the topic"
    );
    assert_eq!(answer.json()["channel_type"], "private");
    let answer = edge.patch(&path, &json!({"topic": null})).await;
    assert!(answer.json()["topic"].is_null());
    let wrong = edge
        .post(
            "/api/channels",
            &json!({"name": "", "channel_type": "dm", "topic": 1}),
        )
        .await;
    assert_eq!(faults(&wrong), ["/name", "/topic", "/channel_type"]);
}

#[tokio::test]
async fn dm_channel_type_cannot_be_changed() {
    let database = Database::migrated().await;
    let edge = Edge::start(&database).await;
    let id = agent(&edge, "backend").await;
    let dm = edge
        .get(&format!("/api/agents/{id}/dm-channel"))
        .await
        .json();
    let path = format!("/api/channels/{}", text(&dm, "id"));
    let answer = edge.patch(&path, &json!({"channel_type": "public"})).await;
    assert_eq!(answer.status, StatusCode::CONFLICT);
    assert_eq!(
        answer.json()["detail"],
        "The type of a direct-message channel cannot be changed."
    );
}

#[tokio::test]
async fn channel_messages_returns_newest_page_in_creation_order() {
    let database = Database::migrated().await;
    let edge = Edge::start(&database).await;
    let path = format!("/api/channels/{}/messages", channel(&edge, "general").await);
    assert_eq!(edge.get(&path).await.json(), json!([]));
    for n in 1..=5 {
        let answer = edge
            .post(
                &path,
                &json!({"content": format!("m{n}"), "author_name": "maria"}),
            )
            .await;
        assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
        assert_eq!(
            edge.get(answer.header("location")).await.json(),
            answer.json()
        );
    }
    assert_eq!(
        each(&edge.get(&path).await, "content"),
        ["m1", "m2", "m3", "m4", "m5"]
    );
    let newest = edge.get(&format!("{path}?limit=2")).await;
    assert_eq!(each(&newest, "content"), ["m4", "m5"]);
    let older = edge.get(&newest.next().expect("there's more")).await;
    assert_eq!(each(&older, "content"), ["m2", "m3"]);
    let oldest = edge.get(&older.next().expect("there's more")).await;
    assert_eq!(each(&oldest, "content"), ["m1"]);
    assert_eq!(oldest.next(), None);
    assert_eq!(
        each(
            &edge.get(&format!("{path}?limit=2&offset=2")).await,
            "content"
        ),
        ["m2", "m3"]
    );
}

#[tokio::test]
async fn channel_clear_hides_older_messages() {
    let database = Database::migrated().await;
    let edge = Edge::start(&database).await;
    let id = channel(&edge, "general").await;
    let path = format!("/api/channels/{id}/messages");
    edge.post(&path, &json!({"content": "before"})).await;
    let answer = edge
        .request(Method::POST, &format!("/api/channels/{id}/clear"))
        .await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(
        answer.json()["message"],
        "The history of channel general begins anew."
    );
    assert!(answer.json()["context_cleared_at"].is_string());
    assert_eq!(edge.get(&path).await.json(), json!([]));
    edge.post(&path, &json!({"content": "after"})).await;
    assert_eq!(each(&edge.get(&path).await, "content"), ["after"]);
    assert_eq!(
        each(&edge.get("/api/messages").await, "content"),
        ["before", "after"]
    );
}

#[tokio::test]
async fn message_create_checks_author_thread_and_channel() {
    let database = Database::migrated().await;
    let edge = Edge::start(&database).await;
    let general = format!("/api/channels/{}/messages", channel(&edge, "general").await);
    let elsewhere = format!(
        "/api/channels/{}/messages",
        channel(&edge, "planning").await
    );
    let backend = agent(&edge, "backend").await;

    let body = json!({"content": "done", "author_type": "agent", "author_id": backend, "metadata": {"a": [1]}});
    let first = edge.post(&general, &body).await.json();
    assert_eq!(first["author_name"], "@backend", "an agent's own name");
    assert_eq!(first["metadata"], json!({"a": [1]}));
    let id = text(&first, "id");
    let reply = edge
        .post(&general, &json!({"content": "thanks", "thread_id": id}))
        .await
        .json();
    assert_eq!(reply["thread_id"], id);
    assert_eq!(reply["author_name"], "user");

    let wrong = json!({"content": "x", "author_type": "agent", "author_id": super::NOBODY, "thread_id": id});
    assert_eq!(
        faults(&edge.post(&elsewhere, &wrong).await),
        ["/author_id", "/thread_id"]
    );
    let nameless = json!({"content": "x", "author_type": "agent"});
    assert_eq!(
        faults(&edge.post(&general, &nameless).await),
        ["/author_id"]
    );
    let empty = json!({"content": "", "author_type": "robot", "metadata": []});
    assert_eq!(
        faults(&edge.post(&general, &empty).await),
        ["/content", "/author_type", "/metadata"]
    );
}

#[tokio::test]
async fn message_create_in_an_archived_channel_is_409() {
    let database = Database::migrated().await;
    let edge = Edge::start(&database).await;
    let id = channel(&edge, "general").await;
    let path = format!("/api/channels/{id}/messages");
    edge.post(&path, &json!({"content": "before"})).await;
    edge.request(Method::DELETE, &format!("/api/channels/{id}"))
        .await;
    let answer = edge.post(&path, &json!({"content": "after"})).await;
    assert_eq!(answer.status, StatusCode::CONFLICT);
    assert_eq!(
        each(&edge.get(&path).await, "content"),
        ["before"],
        "its messages stay"
    );
}
