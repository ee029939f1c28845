//! Tests that the component's log has no control or format characters, even if a client or the database sends them.

use std::fmt::Write;

use http::{Method, StatusCode};
use serde_json::Value;
use support::{Database, Edge};

/// Commands of terminals (C1), line ends, reversed text, invisible text, a byte order mark.
const ODD: &str = "a\u{9b}31mb\u{85}c\u{202e}d\u{2028}e\u{200b}f\u{2066}g\u{feff}h\u{ad}i\u{7f}j";

fn is_obeyed(character: char) -> bool {
    let odd = ODD
        .chars()
        .filter(|c| !c.is_ascii() || c.is_ascii_control());
    character != '\n' && (character.is_control() || odd.into_iter().any(|one| one == character))
}

#[tokio::test]
async fn control_and_format_characters_of_any_source_are_escaped_in_the_log() {
    for format in ["text", "json"] {
        let database = Database::migrated().await;
        let variables = [
            ("log_format", format),
            ("slow_request_warn_ms", "0"),
            ("slow_query_warn_ms", "0"),
        ];
        let edge = Edge::start_with(&database, &variables, &[]).await;
        // Sends the characters in the path and the query (raw and percent-encoded), in a header, and in a body.
        let mut encoded = String::new();
        for byte in ODD.bytes() {
            write!(encoded, "%{byte:02X}").expect("a String takes it");
        }
        for path in [
            format!("/api/agents/name/{encoded}"),
            format!("/{encoded}"),
            format!("/api/agents?{encoded}={encoded}"),
        ] {
            let status = edge.get(&path).await.status;
            assert!(status.is_client_error(), "{path}: {status}");
        }
        let raw = format!(
            "GET /api/agents/name/{ODD} HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: {ODD}\r\nConnection: close\r\n\r\n"
        );
        edge.raw(raw.replace(['\u{7f}', '\u{85}'], "").as_bytes())
            .await;
        edge.post(
            "/api/channels",
            &serde_json::json!({"name": ODD, "topic": ODD}),
        )
        .await;
        // Creates a trigger with which the characters are in PostgreSQL's error message and hint.
        let client = database.client().await;
        let sql = format!(
            "CREATE FUNCTION odd() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION '{ODD}' USING HINT = '{ODD}'; END $$;
             CREATE TRIGGER odd BEFORE INSERT ON tasks FOR EACH ROW EXECUTE FUNCTION odd()"
        );
        client
            .batch_execute(&sql)
            .await
            .expect("a trigger can be made");
        let answer = edge
            .post("/api/tasks", &serde_json::json!({"description": "x"}))
            .await;
        assert_eq!(answer.status, StatusCode::INTERNAL_SERVER_ERROR);
        let line = edge
            .log_line(&["INTERNAL ERROR", answer.header("x-request-id")])
            .await;
        assert!(
            line.contains("u{9b}31mb c") && line.contains("u{202e}d e"),
            "{line}"
        );
        if format == "json" {
            let line: Value = serde_json::from_str(&line).expect("a line is JSON");
            assert_eq!(line["event"], "error");
        }
        let log = edge.log();
        let obeyed = log.lines().find(|line| line.contains(is_obeyed));
        assert_eq!(obeyed, None);
        assert_eq!(
            edge.request(Method::GET, "/api/health").await.status,
            StatusCode::OK
        );
    }
}
