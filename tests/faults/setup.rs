//! Tests of configuration mistakes. For each mistake, one log line states the problem and the solution.

use http::StatusCode;
use support::{Database, Edge};

#[tokio::test]
async fn invalid_variable_is_named_in_the_log_but_not_in_the_response() {
    let database = Database::migrated().await;
    for (variable, value, expected) in [
        (
            "slow_query_warn_ms",
            "fast",
            "the variable slow_query_warn_ms is \"fast\": set it to a whole number from 0 to 600000",
        ),
        (
            "query_target_ms",
            "0",
            "the variable query_target_ms is \"0\": set it to a whole number from 1 to 600000",
        ),
        (
            "query_target_percent",
            "101",
            "the variable query_target_percent is \"101\": set it to a whole number from 1 to 100",
        ),
        (
            "slow_request_warn_ms",
            "2000",
            "slow_request_warn_ms is above slow_request_error_ms: set slow_request_warn_ms to the smaller of the two",
        ),
        (
            "db_url",
            "hunter2",
            "the variable db_url isn't an address of a PostgreSQL database",
        ),
        (
            "allowed_hosts",
            "api.example.com:3000",
            "the variable allowed_hosts has \"api.example.com:3000\": set it to names such as api.example.com, without scheme and port",
        ),
    ] {
        let edge = Edge::start_with(&database, &[(variable, value)], &[]).await;
        let answer = edge.get("/api/agents").await;
        assert_eq!(answer.status, StatusCode::INTERNAL_SERVER_ERROR);
        let line = edge
            .log_line(&["CONFIGURATION", answer.header("x-request-id")])
            .await;
        assert!(line.contains(expected), "{line}");
        assert!(!edge.log().contains("hunter2"), "{}", edge.log());
        let detail = answer.json()["detail"].to_string();
        assert!(
            !detail.contains(variable),
            "the response must not name the variable: {detail}"
        );
    }
}

#[tokio::test]
async fn public_listener_without_api_token_logs_a_warning() {
    let database = Database::migrated().await;
    let warning = "set the variable api_token";
    let open = Edge::start_for_all(&database, &[]).await;
    open.log_line(&["warning: ", warning]).await;
    let token = [("api_token", "a-token-for-this-test")];
    for quiet in [
        Edge::start_for_all(&database, &token).await,
        Edge::start(&database).await,
    ] {
        quiet.log_line(&["Serving"]).await;
        assert!(!quiet.log().contains(warning), "{}", quiet.log());
    }
}
