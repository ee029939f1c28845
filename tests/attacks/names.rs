//! Attacks with names whose URL leads to another resource, because a URL parser changes the path, or because a name is reserved for
//! another channel.

use http::{Method, StatusCode};
use serde_json::json;
use support::{Database, Edge};

use crate::{create, send};

/// Path segments like `.` and `..`, also percent-encoded, which a URL parser resolves to another path.
const DOTS: [&str; 8] = [".", "..", "@.", "@..", "%2e", "%2E%2e", ".%2e", "..;"];

#[tokio::test]
async fn agent_names_that_browsers_rewrite_in_a_path_are_refused() {
    let database = Database::migrated().await;
    let edge = Edge::start(&database).await;
    let agent = create(
        &edge,
        "/api/agents",
        json!({"name": "plain", "agent_type": "qa"}),
    )
    .await;
    for name in DOTS.into_iter().chain([
        "a/b",
        "a\\b",
        "a?b",
        "a#b",
        "a b",
        "",
        "@",
        "\u{ff0e}\u{ff0e}",
    ]) {
        let body = json!({"name": name, "agent_type": "qa"});
        let answer = edge.post("/api/agents", &body).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{name}");
        let answer = edge
            .patch(&format!("/api/agents/{agent}"), &json!({"name": name}))
            .await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{name}");
    }
    // Sends the path unchanged over a raw connection, because HTTP clients would resolve the dots. The path must match no route.
    for name in DOTS {
        let path = format!("/api/agents/name/{name}");
        let answer = edge
            .raw(
                format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                    .as_bytes(),
            )
            .await;
        assert!(answer.starts_with("HTTP/1.1 404"), "{path}: {answer}");
    }
}

#[tokio::test]
async fn dm_channel_cannot_be_renamed() {
    let database = Database::migrated().await;
    let edge = Edge::start(&database).await;
    let agent = create(
        &edge,
        "/api/agents",
        json!({"name": "talker", "agent_type": "qa"}),
    )
    .await;
    let made = edge.get(&format!("/api/agents/{agent}/dm-channel")).await;
    let made = made.json();
    let (id, name) = (
        made["id"].as_str().expect("an id"),
        made["name"].as_str().expect("a name"),
    );
    let path = format!("/api/channels/{id}");
    let tag = edge.get(&path).await.header("etag").to_owned();
    for other in ["general", "free"] {
        let body = json!({"name": other, "topic": "stolen"}).to_string();
        let answer = send(&edge, &Method::PATCH, &path, body.clone()).await;
        assert_eq!(answer.status, StatusCode::CONFLICT, "{answer:?}");
        assert!(
            answer.json()["detail"]
                .to_string()
                .contains("cannot be renamed")
        );
        for (if_match, expected) in [
            (tag.as_str(), StatusCode::CONFLICT),
            ("\"0000000000000000\"", StatusCode::PRECONDITION_FAILED),
        ] {
            let request = http::Request::patch(format!("{}{path}", edge.url()))
                .header("content-type", "application/json")
                .header("if-match", if_match)
                .body(body.clone().into());
            let answer = edge.send(request.expect("the request is valid")).await;
            assert_eq!(answer.status, expected, "{answer:?}");
        }
    }
    let unchanged = edge.get(&path).await.json();
    assert_eq!(
        (unchanged["name"].as_str(), unchanged["topic"].as_str()),
        (Some(name), made["topic"].as_str())
    );
    // Other members may change, even if the body repeats the name.
    let answer = edge
        .patch(&path, &json!({"name": name, "topic": "new"}))
        .await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    assert_eq!(answer.json()["topic"], "new");
    let nobody = edge
        .patch(
            &format!("/api/channels/{}", crate::NOBODY),
            &json!({"name": "free"}),
        )
        .await;
    assert_eq!(nobody.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn path_with_an_empty_segment_is_404() {
    let database = Database::migrated().await;
    let edge = Edge::start(&database).await;
    for path in [
        "//performance",
        "///performance",
        "/performance//",
        "//api/agents",
        "/api//agents",
        "/api/agents//",
        "//",
    ] {
        let answer = edge
            .raw(
                format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                    .as_bytes(),
            )
            .await;
        assert!(answer.starts_with("HTTP/1.1 404"), "{path}: {answer}");
    }
    assert_eq!(edge.get("/performance/").await.status, StatusCode::OK);
}
