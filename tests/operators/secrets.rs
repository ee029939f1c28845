//! Tests with passwords and tokens in many forms, including malformed ones. No response and no log line may contain a part of a secret.

use std::process::{Command, Stdio};

use http::StatusCode;
use support::{Database, Edge, project};

/// Parts of the passwords below. No other text contains these parts, so none of them may be shown.
const PARTS: [&str; 4] = ["qz7x", "QZ7X", "Wv9k", "%5A"];

fn assert_no_secret(text: &str, written: &str) {
    for part in PARTS {
        assert!(!text.contains(part), "{written}: {part} in:\n{text}");
    }
}

#[tokio::test]
async fn no_part_of_the_password_is_shown_for_any_db_url() {
    let database = Database::migrated().await;
    let (host, name) = (database.host(), database.name().to_owned());
    for db_url in [
        // Well-formed addresses with a wrong password.
        format!("postgres://reznet_api:qz7x%2FWv9k@{host}/{name}"),
        format!("postgres://reznet_api:%51%5A7X@{host}/{name}"),
        format!("postgres://reznet_api:qz7x?Wv9k#@{host}/{name}"),
        format!(
            "host=127.0.0.1 port={} user=reznet_api password='qz7x Wv9k' dbname={name}",
            host.replace("127.0.0.1:", "")
        ),
        format!("postgres://reznet_api:qz7x%2FWv9k@127.0.0.1:1/{name}"),
        format!("postgres://reznet_api:qz7x%2FWv9k@elsewhere.invalid/{name}"),
        format!("postgres://reznet_api:qz7x%2FWv9k@{host}/nowhere"),
        format!("postgres://reznet_api:qz7x%2FWv9k@{host}/{name}?sslmode=require"),
        // Malformed addresses.
        format!("postgres://reznet_api:qz7x/Wv9k@{host}/{name}"),
        format!("postgres://reznet_api:5432/qz7xWv9k@{host}/{name}"),
        format!("postgres://reznet_api:qz7x@Wv9k@{host}/{name}"),
        format!("postgres://reznet_api:qz7x%Wv9k@{host}/{name}"),
        format!("postgres://reznet_api:qz7x[Wv9k@{host}/{name}"),
        format!("postgres:/reznet_api:qz7x=Wv9k@{host}/{name}"),
        format!("postgres://{host}?user=reznet_api&password=qz7x@Wv9k"),
        format!("postgres://reznet_api@{host}/{name}?password=qz7x&Wv9k=1"),
        format!("host={host} password=qz7x Wv9k dbname={name}"),
        format!("host=127.0.0.1 user=u password=qz7x Wv9k=1 dbname={name}"),
        "qz7xWv9k".to_owned(),
    ] {
        let permitted = match db_url.split_once("@127.0.0.1:1/") {
            Some(_) => "127.0.0.1:1",
            None => host.as_str(),
        };
        let variables = [("db_url", db_url.as_str()), ("db_host", permitted)];
        let edge = Edge::start_at(&variables, &[]).await;
        for path in ["/api/agents", "/api/health/ready"] {
            let answer = edge.get(path).await;
            let expected = [
                StatusCode::INTERNAL_SERVER_ERROR,
                StatusCode::SERVICE_UNAVAILABLE,
            ];
            assert!(expected.contains(&answer.status), "{db_url}: {answer:?}");
            edge.log_line(&["ERROR - ", answer.header("x-request-id")])
                .await;
            assert_no_secret(&format!("{answer:?}"), &db_url);
        }
        assert_no_secret(&edge.log(), &db_url);
    }
}

#[tokio::test]
async fn invalid_secret_variable_is_named_without_its_value() {
    let database = Database::migrated().await;
    for (variable, value) in [
        ("api_token", "qz7xWv9k"),
        ("admin_token", "qz7xWv9k a-token-for-this-test"),
        ("db_ca", "qz7xWv9k"),
        ("db_read_url", "qz7xWv9k"),
    ] {
        let edge = Edge::start_with(&database, &[(variable, value)], &[]).await;
        let answer = edge.get("/api/health").await;
        assert_eq!(answer.status, StatusCode::INTERNAL_SERVER_ERROR);
        let line = edge.log_line(&["CONFIGURATION: ", variable]).await;
        assert_no_secret(&line, variable);
        assert_no_secret(&format!("{answer:?}\n{}", edge.log()), variable);
    }
}

/// Returns the host's output until it ends.
fn refused_start(arguments: &[&str], variables: &[(&str, &str)]) -> String {
    let mut host = Command::new(project().join("target/host/reznet-host"));
    host.current_dir(project())
        .args(["--listen", "127.0.0.1:0"])
        .args(arguments)
        .stdin(Stdio::null());
    for (name, value) in variables {
        host.env(format!("SPIN_VARIABLE_{}", name.to_uppercase()), value);
    }
    let output = host
        .output()
        .expect("the host runs: scripts/test builds it");
    assert!(
        !output.status.success(),
        "the host must refuse to start: {arguments:?}"
    );
    let text = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&text).into_owned()
}

#[test]
fn host_error_never_repeats_a_possibly_secret_argument() {
    let secret = "postgres://reznet_api:qz7xWv9k@127.0.0.1/d";
    for arguments in [
        &["db_url=postgres://u:qz7xWv9k@h/d"][..],
        &[secret],
        &["--db-url=postgres://u:qz7xWv9k@h/d"],
        &["--variable", secret],
        &["--variable", "no_such=qz7xWv9k"],
        &["--variables", "db_url=qz7xWv9k"],
        &["--variable", "db_host=postgres://u:qz7xWv9k@h/d"],
        &["--variable", "db_host=h:qz7xWv9k"],
    ] {
        let text = refused_start(arguments, &[]);
        assert!(text.starts_with("error: "), "{text}");
        assert_no_secret(&text, &arguments.join(" "));
    }
    let text = refused_start(&[], &[("db_host", secret)]);
    assert!(text.contains("allowed_outbound_hosts"), "{text}");
    assert_no_secret(&text, "SPIN_VARIABLE_DB_HOST");
}
