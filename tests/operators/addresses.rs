//! Tests of the variable `db_url` with the database's address in each supported form.

use http::StatusCode;
use reznet_edge::config::address::Address;
use support::{Cluster, Database, Edge};

use crate::{address, create_task, edge_at, line_about, run};

const AGENTS: &str = "/api/agents";

/// The parts of an address.
struct Parts {
    host: String,
    port: String,
    user: String,
    password: String,
    database: String,
}

impl Parts {
    fn of(database: &Database) -> Self {
        let config: tokio_postgres::Config = database.app_url().parse().expect("the URL is valid");
        let host = database.host();
        let (host, port) = host.split_once(':').expect("host:port");
        let password = config.get_password().unwrap_or_default();
        Self {
            host: host.to_owned(),
            port: port.to_owned(),
            user: config.get_user().unwrap_or_default().to_owned(),
            password: String::from_utf8_lossy(password).into_owned(),
            database: database.name().to_owned(),
        }
    }
}

#[tokio::test]
async fn every_supported_db_url_form_is_accepted() {
    let database = Database::migrated().await;
    let Parts {
        host,
        port,
        user,
        password,
        database: name,
    } = Parts::of(&database);
    let url = address(&database).to_url();
    let encoded = password.bytes().map(|b| format!("%{b:02x}"));
    let encoded = encoded.collect::<Vec<_>>().concat();
    for db_url in [
        format!("{url}?"),
        format!("{url}?&"),
        format!("\u{feff} {url}\r\n\n"),
        format!(
            "{url}?sslmode=disable&sslmode=prefer&connect_timeout=2&keepalives_count=3&tcp_user_timeout=1500&application_name=theirs"
        ),
        format!(
            "{url}?target_session_attrs=read-write&channel_binding=prefer&gssencmode=prefer&client_encoding=UTF8"
        ),
        format!("postgresql://{user}:{encoded}@{host}:{port}/{name}"),
        format!("postgres://{host}:{port}?user={user}&password={encoded}&dbname={name}"),
        format!("host={host} port={port} user={user} password='{password}' dbname={name}\n"),
        format!(
            "hostaddr = {host} port={port} user={user} password={password} dbname='{name}' options='-c work_mem=5MB'"
        ),
    ] {
        let edge = edge_at(&database, &db_url).await;
        let answer = edge.get(AGENTS).await;
        assert_eq!(answer.status, StatusCode::OK, "{db_url}: {}", edge.log());
    }
}

#[tokio::test]
async fn unsupported_url_parameter_is_500_and_logged_with_its_variable() {
    let database = Database::migrated().await;
    let url = address(&database).to_url();
    for (variable, parameter, expected) in [
        (
            "db_url",
            "pgbouncer=true",
            "the variable db_url has the parameter pgbouncer, ",
        ),
        (
            "db_url",
            "sslmode=allow",
            "the variable db_url has a value of the parameter sslmode that isn't supported: use disable, prefer, require",
        ),
        (
            "db_read_url",
            "schema=",
            "the variable db_read_url has the parameter schema, ",
        ),
        (
            "db_url",
            "connection_limit=5",
            "the parameter connection_limit, ",
        ),
        (
            "db_url",
            "sslrootcert=/etc/ca.pem",
            "set the variable db_ca to the certificate's text",
        ),
        (
            "db_url",
            "made_up=1",
            "the parameter made_up, which PostgreSQL's libpq doesn't know: remove it",
        ),
    ] {
        let host = database.host();
        let changed = format!("{url}?{parameter}");
        let mut variables = vec![("db_host", host.as_str()), (variable, changed.as_str())];
        if variable == "db_read_url" {
            variables.push(("db_url", url.as_str()));
        }
        let edge = Edge::start_at(&variables, &[]).await;
        let answer = edge.get(AGENTS).await;
        assert_eq!(
            answer.status,
            StatusCode::INTERNAL_SERVER_ERROR,
            "{answer:?}"
        );
        let line = line_about(&edge, &answer).await;
        assert!(
            line.contains("CONFIGURATION: ") && line.contains(expected),
            "{line}"
        );
        assert!(!line.contains(&url), "{line}");
    }
}

/// Creates a trigger that writes the session's settings into the description of a new task.
async fn describe_sessions(database: &Database) {
    run(
        database,
        "CREATE FUNCTION describe() RETURNS trigger LANGUAGE plpgsql AS $$
         BEGIN
             NEW.description := concat_ws('|', current_setting('work_mem'), coalesce(current_setting('app.tenant', true), ''),
                 current_setting('jit'), current_setting('TimeZone'), current_setting('statement_timeout'),
                 current_setting('default_transaction_isolation'), current_setting('application_name'));
             RETURN NEW;
         END $$;
         CREATE TRIGGER describe BEFORE INSERT ON tasks FOR EACH ROW EXECUTE FUNCTION describe();",
    )
    .await;
}

#[tokio::test]
async fn options_of_db_url_are_merged_with_the_components_settings() {
    let database = Database::migrated().await;
    describe_sessions(&database).await;
    for (options, expected) in [
        (
            "-c work_mem=5MB",
            "5MB||off|UTC|5s|read committed|reznet-edge",
        ),
        (
            "-cwork_mem=5MB -c app.tenant=a\\ b\\\\c",
            "5MB|a b\\c|off|UTC|5s|read committed|reznet-edge",
        ),
        // The value of jit in db_url applies. For the other settings the component's own values apply, because its statements rely on them.
        (
            "-c work_mem=5MB -c jit=on -c TimeZone=Asia/Tokyo -c statement_timeout=1 -c default_transaction_isolation=serializable \\",
            "5MB||on|UTC|5s|read committed|reznet-edge",
        ),
    ] {
        let url = address(&database)
            .with_parameter("options", options)
            .unwrap();
        let edge = edge_at(&database, &url.to_url()).await;
        let created = create_task(&edge, None).await;
        assert_eq!(created.status, StatusCode::CREATED, "{}", edge.log());
        assert_eq!(created.json()["description"], expected, "{options}");
    }
}

#[tokio::test]
async fn search_path_option_in_db_url_has_no_effect() {
    let database = Database::migrated().await;
    run(
        &database,
        "CREATE SCHEMA app; GRANT USAGE ON SCHEMA app TO PUBLIC;
         CREATE TABLE app.tasks (id serial PRIMARY KEY, title text); GRANT SELECT ON app.tasks TO PUBLIC",
    )
    .await;
    for search_path in ["nowhere", "app,public", "''"] {
        let options = format!("-c search_path={search_path}");
        let url = address(&database)
            .with_parameter("options", &options)
            .unwrap();
        let edge = edge_at(&database, &url.to_url()).await;
        let created = create_task(&edge, None).await;
        assert_eq!(created.status, StatusCode::CREATED, "{}", edge.log());
        let tasks = edge.get("/api/tasks").await;
        assert_eq!(tasks.status, StatusCode::OK, "{}", edge.log());
        assert_eq!(tasks.json()[0]["description"], "a task");
    }
}

#[tokio::test]
async fn each_variable_may_end_in_a_line_break() {
    let database = Database::migrated().await;
    let variables = [
        ("db_url", format!("{}\n", database.app_url())),
        ("db_host", format!(" {}\r\n", database.host())),
        ("db_read_url", "\n".to_owned()),
        ("db_ca", " \n".to_owned()),
        ("db_connect_timeout_ms", "2000\n".to_owned()),
        ("profiling", "off\r\n".to_owned()),
        ("log_format", "text\n".to_owned()),
        ("cors_origins", "https://app.example.com\n".to_owned()),
        ("allowed_hosts", "api.example.com\n".to_owned()),
        ("api_token", "a-token-for-this-test\n".to_owned()),
    ];
    let variables = variables
        .each_ref()
        .map(|(name, value)| (*name, value.as_str()));
    let edge = Edge::start_at(&variables, &[]).await;
    let token = [("authorization", "Bearer a-token-for-this-test")];
    let answer = edge.request_with(http::Method::GET, AGENTS, &token).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", edge.log());
}

#[tokio::test]
async fn first_reachable_host_is_used_and_all_hosts_must_be_permitted() {
    let database = Database::migrated().await;
    let (url, host) = (address(&database).to_url(), database.host());
    // The URL has two hosts, and no server listens at the first one.
    let several = url.replacen(&host, &format!("127.0.0.1:1,{host}"), 1);
    assert_ne!(several, url);
    let only_one = edge_at(&database, &several).await;
    let refused = only_one.get(AGENTS).await;
    assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);
    let line = line_about(&only_one, &refused).await;
    assert!(
        line.contains("address postgres://127.0.0.1:1 is not permitted"),
        "{line}"
    );
    assert!(
        line.contains("add each to allowed_outbound_hosts in spin.toml"),
        "{line}"
    );

    let permitted = [("db_url", several.as_str())];
    let edge = Edge::start_changed(&database, &permitted, &[], |manifest| {
        manifest.replace(
            "\"postgres://{{ db_read_host }}\"",
            "\"postgres://127.0.0.1:1\"",
        )
    })
    .await;
    assert_eq!(
        edge.get(AGENTS).await.status,
        StatusCode::OK,
        "{}",
        edge.log()
    );
}

#[tokio::test]
async fn failed_connection_logs_the_server_message_and_possible_causes() {
    let cluster = Cluster::start();
    let superuser = cluster.superuser().await;
    superuser
        .batch_execute(
            "CREATE ROLE stranger LOGIN PASSWORD 'hunter2hunter2';
             CREATE ROLE locked NOLOGIN PASSWORD 'hunter2hunter2';
             REVOKE CONNECT ON DATABASE reznet FROM PUBLIC",
        )
        .await
        .expect("roles can be made");
    let address: Address = cluster.app_url().parse().expect("the URL is valid");
    let host = cluster.host();
    let as_user = |user: &str, database: &str| {
        let address = format!("postgres://{user}:hunter2hunter2@{host}/{database}");
        address
            .parse::<Address>()
            .expect("the URL is valid")
            .to_url()
    };
    for (db_url, server_says) in [
        (
            as_user("stranger", "reznet"),
            "permission denied for database",
        ),
        (as_user("locked", "reznet"), "is not permitted to log in"),
        (as_user("stranger", "nowhere"), "\"nowhere\" does not exist"),
        (as_user("nobody", "reznet"), "\"nobody\""),
        (
            address
                .with_parameter("sslmode", "require")
                .unwrap()
                .to_url(),
            "TLS",
        ),
    ] {
        let variables = [("db_url", db_url.as_str()), ("db_host", host.as_str())];
        let edge = Edge::start_at(&variables, &[]).await;
        let refused = edge.get(AGENTS).await;
        assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);
        let line = line_about(&edge, &refused).await;
        let server = format!("no connection to {host}, database ");
        for part in [
            server_says,
            &server,
            "in db_url",
            "LOGIN",
            "CONNECT",
            "pg_hba.conf",
            "sslmode",
        ] {
            assert!(line.contains(part), "{part}: {line}");
        }
        assert!(!line.contains("set db_host"), "{line}");
        assert!(!edge.log().contains("hunter2"), "{}", edge.log());
    }
}
