//! /api/messages

use http::StatusCode;
use serde_json::json;
use support::{Database, Edge};

use super::{channel, each, faults, text};

#[tokio::test]
async fn message_list_covers_all_channels_since_a_given_time() {
    let database = Database::migrated().await;
    let edge = Edge::start(&database).await;
    let mut times = Vec::new();
    for (name, content) in [("general", "a"), ("planning", "b"), ("general", "c")] {
        let path = format!("/api/channels/{}/messages", channel(&edge, name).await);
        let message = edge.post(&path, &json!({"content": content})).await.json();
        times.push(text(&message, "created_at").to_owned());
    }
    assert_eq!(
        each(&edge.get("/api/messages").await, "content"),
        ["a", "b", "c"]
    );
    // Three forms of the same time: as the API returned it, without an offset, and with an offset whose plus sign isn't percent-encoded.
    let naive = times[1].replace('Z', "");
    for since in [
        times[1].as_str(),
        naive.as_str(),
        &times[1].replace('Z', "+00:00"),
    ] {
        let answer = edge.get(&format!("/api/messages?since={since}")).await;
        assert_eq!(each(&answer, "content"), ["b", "c"], "{since}");
    }
    let page = edge
        .get(&format!("/api/messages?since={naive}&limit=1"))
        .await;
    assert_eq!(each(&page, "content"), ["b"]);
    let next = page.next().expect("there's more");
    assert!(
        next.contains("since=") && next.contains("limit=1"),
        "{next}"
    );
    assert_eq!(each(&edge.get(&next).await, "content"), ["c"]);
    assert_eq!(
        edge.get("/api/messages?since=9999-12-31T23:59:59Z")
            .await
            .json(),
        json!([])
    );
    assert_eq!(
        edge.get("/api/messages?since=0000-01-01T00:00:00Z")
            .await
            .status,
        StatusCode::OK
    );
    for wrong in [
        "yesterday",
        "2026-02-30T00:00:00Z",
        "infinity",
        "1",
        "-9999-01-01T00:00:00",
        "%2B12026-01-01T00:00:00Z",
    ] {
        let answer = edge.get(&format!("/api/messages?since={wrong}")).await;
        assert_eq!(faults(&answer), ["since"], "{wrong}");
    }
}
