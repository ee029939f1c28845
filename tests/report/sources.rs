//! The performance report reads several tables and views. If one of them can't be read, only the sections that need it are missing, and
//! the report gives the reason.

use std::collections::BTreeSet;

use http::StatusCode;
use serde_json::Value;
use support::{Cluster, Edge, database_variables, migrate};
use tokio_postgres::Client;

/// Every member of the report that may be missing.
const SECTIONS: [&str; 15] = [
    "connection_pool",
    "from",
    "histogram",
    "index_contract",
    "index_usage",
    "nfr",
    "profiler",
    "routes",
    "series",
    "slow_queries",
    "slow_query_logging",
    "statements",
    "table_sizes",
    "to",
    "top_statements",
];

/// The members that are read from the tables with measurements in the schema `profile`.
const MEASURED: &str = "from histogram nfr routes series statements to";

async fn serve(cluster: &Cluster) -> Edge {
    let url = cluster.app_url();
    let variables = [&database_variables(&url)[..], &[("profiling", "off")]].concat();
    let edge = Edge::start_at(&variables, &[]).await;
    edge.letting_sections_be_read_alone()
}

async fn report(edge: &Edge) -> Value {
    let answer = edge.get("/api/performance/database").await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    answer.json()
}

/// Returns the members that are null.
fn missing(report: &Value) -> Vec<&str> {
    SECTIONS
        .into_iter()
        .filter(|section| {
            let member = report.get(section);
            member.unwrap_or_else(|| panic!("no {section}")).is_null()
        })
        .collect()
}

/// Returns the sections that `unavailable` names.
fn named(report: &Value) -> BTreeSet<&str> {
    let unavailable = report["unavailable"].as_array().expect("a list");
    let sections = unavailable.iter().map(|one| {
        assert!(
            one["reason"]
                .as_str()
                .is_some_and(|reason| reason.ends_with(['.', ';'])),
            "{one}"
        );
        one["section"].as_str().expect("a text")
    });
    sections.collect()
}

/// Returns the reasons that `unavailable` gives for a section.
fn reasons(report: &Value, section: &str) -> String {
    let unavailable = report["unavailable"].as_array().expect("a list");
    let of = unavailable.iter().filter(|one| one["section"] == section);
    of.map(|one| one["reason"].to_string())
        .collect::<Vec<_>>()
        .join(" ")
}

/// Executes `sql`, reads a report, and reverts `sql` with `undo`. Fails unless exactly the given members are null, and `unavailable`
/// names exactly the given sections.
async fn check(
    edge: &Edge,
    superuser: &Client,
    (sql, undo): (&str, &str),
    expected_missing: &str,
    expected_named: &str,
    reason: &str,
) -> Value {
    superuser
        .batch_execute(sql)
        .await
        .unwrap_or_else(|error| panic!("{sql}: {error}"));
    let report = report(edge).await;
    let (found_missing, found_named) = (missing(&report), named(&report));
    let unavailable = &report["unavailable"];
    assert_eq!(
        found_missing.join(" "),
        expected_missing,
        "{sql}: {unavailable}"
    );
    let expected: BTreeSet<_> = expected_named
        .split(' ')
        .filter(|name| !name.is_empty())
        .collect();
    assert_eq!(found_named, expected, "{sql}: {unavailable}");
    assert!(
        unavailable.to_string().contains(reason),
        "{sql}: no {reason:?} in {unavailable}"
    );
    superuser
        .batch_execute(undo)
        .await
        .unwrap_or_else(|error| panic!("{undo}: {error}"));
    report
}

#[tokio::test]
#[expect(
    clippy::too_many_lines,
    reason = "one cluster for all: each start takes seconds"
)]
async fn unreadable_source_removes_only_its_own_report_section() {
    let cluster = Cluster::start();
    migrate(&cluster.url()).unwrap();
    let superuser = cluster.superuser().await;
    let edge = serve(&cluster).await;
    let all = report(&edge).await;
    assert_eq!(
        all["unavailable"],
        serde_json::json!([]),
        "at first, no section may be missing"
    );
    let first = edge.get("/api/performance/database").await;
    assert_eq!(first.query_count(), 3, "while all sources are readable");

    for (view, missing, named) in [
        (
            "pg_stat_activity",
            "connection_pool",
            "advice connection_pool",
        ),
        (
            "pg_stat_user_indexes",
            "index_usage",
            "advice index_contract index_usage",
        ),
        ("pg_stat_user_tables", "", "advice"),
        ("pg_stat_database", "", "advice"),
        ("pg_stat_progress_create_index", "", "advice"),
        ("pg_locks", "table_sizes", "profiler table_sizes"),
    ] {
        let revoke = format!("REVOKE SELECT ON {view} FROM PUBLIC");
        let grant = format!("GRANT SELECT ON {view} TO PUBLIC");
        let report = check(
            &edge,
            &superuser,
            (&revoke, &grant),
            missing,
            named,
            "SQLSTATE 42501",
        )
        .await;
        let contract = report["index_contract"].as_array().expect("a list");
        assert!(
            contract.iter().all(|one| one["state"] == "ok"),
            "{view}: {contract:?}"
        );
    }
    check(
        &edge,
        &superuser,
        (
            "REVOKE EXECUTE ON FUNCTION pg_total_relation_size(regclass) FROM PUBLIC",
            "GRANT EXECUTE ON FUNCTION pg_total_relation_size(regclass) TO PUBLIC",
        ),
        "table_sizes",
        "profiler table_sizes",
        "can't be read",
    )
    .await;
    for (table, missing, named) in [
        ("flushes", "profiler", "profiler"),
        ("slow_queries", "slow_queries", "slow_queries"),
        ("index_scans", "", "index_contract"),
        (
            "totals",
            MEASURED,
            "from histogram index_contract nfr routes series statements to",
        ),
    ] {
        let revoke = format!("REVOKE SELECT ON profile.{table} FROM reznet_app");
        let grant = format!("GRANT SELECT ON profile.{table} TO reznet_app");
        check(
            &edge,
            &superuser,
            (&revoke, &grant),
            missing,
            named,
            "scripts/migrate grant",
        )
        .await;
        let away = format!("ALTER TABLE profile.{table} RENAME TO away");
        let back = format!("ALTER TABLE profile.away RENAME TO {table}");
        // Views still read the renamed table, because they refer to the table by OID.
        check(
            &edge,
            &superuser,
            (&away, &back),
            missing,
            named,
            "lacks migrations",
        )
        .await;
    }
    let whole_schema = format!("{MEASURED} profiler slow_queries index_contract");
    let mut sections: Vec<_> =
        "from histogram nfr profiler routes series slow_queries statements to"
            .split(' ')
            .collect();
    sections.sort_unstable();
    for change in [
        (
            "REVOKE USAGE ON SCHEMA profile FROM reznet_app",
            "GRANT USAGE ON SCHEMA profile TO reznet_app",
        ),
        (
            "ALTER SCHEMA profile RENAME TO away",
            "ALTER SCHEMA away RENAME TO profile",
        ),
    ] {
        check(
            &edge,
            &superuser,
            change,
            &sections.join(" "),
            &whole_schema,
            "run scripts/migrate",
        )
        .await;
    }
    // Two sources can't be read at the same time.
    check(
        &edge,
        &superuser,
        (
            "REVOKE SELECT ON pg_stat_activity, profile.slow_queries FROM PUBLIC, reznet_app",
            "GRANT SELECT ON pg_stat_activity TO PUBLIC; GRANT SELECT ON profile.slow_queries TO reznet_app",
        ),
        "connection_pool slow_queries",
        "advice connection_pool slow_queries",
        "SQLSTATE 42501",
    )
    .await;
    assert_eq!(
        report(&edge).await["unavailable"],
        serde_json::json!([]),
        "every section is present again"
    );
}

#[tokio::test]
#[expect(
    clippy::too_many_lines,
    reason = "one cluster for all: each start takes seconds"
)]
async fn report_reads_any_pg_stat_statements_or_gives_the_reason() {
    let cluster = Cluster::start();
    migrate(&cluster.url()).unwrap();
    let superuser = cluster.superuser().await;
    let edge = serve(&cluster).await;
    let schema = (
        "CREATE SCHEMA \"Sta ts\"; ALTER EXTENSION pg_stat_statements SET SCHEMA \"Sta ts\"",
        "",
    );
    let reason = "SQLSTATE 42501";
    check(
        &edge,
        &superuser,
        schema,
        "top_statements",
        "top_statements",
        reason,
    )
    .await;
    let grant = ("GRANT USAGE ON SCHEMA \"Sta ts\" TO reznet_app", "");
    let there = check(&edge, &superuser, grant, "", "", "").await;
    assert!(
        there["top_statements"]
            .as_array()
            .is_some_and(|top| top.len() == 10),
        "{there}"
    );

    // The oldest version that can be installed, the last version with the old column names, and the newest.
    for version in ["VERSION '1.4'", "VERSION '1.7'", ""] {
        let create = format!(
            "DROP EXTENSION pg_stat_statements; CREATE EXTENSION pg_stat_statements {version}"
        );
        let there = check(&edge, &superuser, (&create, ""), "", "", "").await;
        let top = &there["top_statements"][0];
        for member in ["calls", "total_ms", "mean_ms", "max_ms", "rows"] {
            assert!(top[member].is_number(), "{version}: {member}: {top}");
        }
    }
    let hidden = (
        "REVOKE pg_read_all_stats FROM reznet_app",
        "GRANT pg_read_all_stats TO reznet_app",
    );
    let there = check(
        &edge,
        &superuser,
        hidden,
        "",
        "advice top_statements",
        "GRANT pg_read_all_stats TO reznet_api;",
    )
    .await;
    assert!(
        reasons(&there, "top_statements").contains("of other roles"),
        "{there}"
    );

    let function = (
        "ALTER FUNCTION server_statements RENAME TO away",
        "ALTER FUNCTION away RENAME TO server_statements",
    );
    check(
        &edge,
        &superuser,
        function,
        "top_statements",
        "top_statements",
        "lacks migrations",
    )
    .await;
    check(
        &edge,
        &superuser,
        (
            "REVOKE SELECT ON pg_stat_statements FROM PUBLIC",
            "GRANT SELECT ON pg_stat_statements TO PUBLIC",
        ),
        "top_statements",
        "top_statements",
        "lacks a privilege",
    )
    .await;

    superuser
        .batch_execute("ALTER SYSTEM SET shared_preload_libraries = 'plpgsql'")
        .await
        .unwrap();
    drop((superuser, edge));
    cluster.stop();
    cluster.resume();
    let superuser = cluster.superuser().await;
    let edge = serve(&cluster).await;
    check(
        &edge,
        &superuser,
        ("", ""),
        "top_statements",
        "top_statements",
        "shared_preload_libraries",
    )
    .await;
    check(
        &edge,
        &superuser,
        ("DROP EXTENSION pg_stat_statements", ""),
        "top_statements",
        "top_statements",
        "not installed in this database",
    )
    .await;
}

#[tokio::test]
async fn database_settings_do_not_change_the_report_and_gaps_are_explained() {
    let cluster = Cluster::start();
    migrate(&cluster.url()).unwrap();
    let superuser = cluster.superuser().await;
    superuser
        .batch_execute(
            "CREATE SCHEMA app;
             CREATE VIEW app.stats AS SELECT 1;
             CREATE TABLE app.messages ();
             CREATE FUNCTION app.server_statements(int) RETURNS int LANGUAGE sql AS 'SELECT 1'",
        )
        .await
        .unwrap();
    for setting in [
        "search_path = ''",
        "search_path = app, public",
        "quote_all_identifiers = on",
        "DateStyle = 'German'",
        "TimeZone = 'Asia/Kolkata'",
        "lock_timeout = '1s'",
    ] {
        let set = format!("ALTER DATABASE reznet SET {setting}");
        superuser.batch_execute(&set).await.unwrap();
        let edge = serve(&cluster).await;
        let name = setting.split(' ').next().unwrap();
        let reset = format!("ALTER DATABASE reznet RESET {name}");
        let report = check(&edge, &superuser, ("", &reset), "", "", "").await;
        let contract = report["index_contract"].as_array().expect("a list");
        assert_eq!(contract.len(), 16);
        assert!(
            contract.iter().all(|one| one["state"] == "ok"),
            "{setting}: {contract:?}"
        );
        let tables = report["table_sizes"].as_array().expect("a list");
        assert!(
            tables.iter().any(|table| table["table"] == "agents"),
            "{setting}: {tables:?}"
        );
        for time in ["from", "to"] {
            let time = report[time].as_str().unwrap();
            assert!(time.len() == 27 && time.ends_with('Z'), "{setting}: {time}");
        }
        for path in [
            "/api/stats",
            "/api/performance/cache",
            "/api/performance/metrics",
        ] {
            assert_eq!(
                edge.get(path).await.status,
                StatusCode::OK,
                "{setting}: {path}"
            );
        }
    }
    superuser
        .batch_execute("ALTER DATABASE reznet SET track_counts = off")
        .await
        .unwrap();
    let edge = serve(&cluster).await;
    check(
        &edge,
        &superuser,
        ("", "ALTER DATABASE reznet RESET track_counts"),
        "",
        "index_usage",
        "track_counts is off",
    )
    .await;
    superuser
        .batch_execute("ALTER DATABASE reznet SET track_activities = off")
        .await
        .unwrap();
    let edge = serve(&cluster).await;
    check(
        &edge,
        &superuser,
        ("", ""),
        "",
        "connection_pool",
        "track_activities",
    )
    .await;
}

#[tokio::test]
async fn locked_table_omits_only_its_own_size() {
    let cluster = Cluster::start();
    migrate(&cluster.url()).unwrap();
    let superuser = cluster.superuser().await;
    let edge = serve(&cluster).await;
    let lock = (
        "BEGIN; LOCK TABLE messages; REINDEX INDEX idx_agents_name",
        "ROLLBACK",
    );
    let report = check(
        &edge,
        &superuser,
        lock,
        "",
        "table_sizes",
        "of messages is missing",
    )
    .await;
    let tables = report["table_sizes"].as_array().unwrap();
    for table in tables {
        let is_locked = table["table"] == "messages" || table["table"] == "agents";
        assert_eq!(table["size_bytes"].is_null(), is_locked, "{table}");
    }
    let lock = ("BEGIN; LOCK TABLE profile.slow_queries", "ROLLBACK");
    let edge_with_limit = {
        let url = cluster.app_url();
        let variables = [
            &database_variables(&url)[..],
            &[("db_statement_timeout_ms", "2000"), ("profiling", "off")],
        ]
        .concat();
        Edge::start_at(&variables, &[])
            .await
            .letting_sections_be_read_alone()
    };
    let reason = "longer than a statement may take here (2000 ms)";
    check(
        &edge_with_limit,
        &superuser,
        lock,
        "slow_queries",
        "profiler slow_queries",
        reason,
    )
    .await;
}

#[tokio::test]
async fn unreadable_metrics_source_omits_and_names_only_its_section() {
    let cluster = Cluster::start();
    migrate(&cluster.url()).unwrap();
    let superuser = cluster.superuser().await;
    let edge = serve(&cluster).await;
    for (sql, undo, section) in [
        (
            "REVOKE SELECT ON pg_stat_activity FROM PUBLIC",
            "GRANT SELECT ON pg_stat_activity TO PUBLIC",
            "connections",
        ),
        (
            "REVOKE SELECT ON profile.flushes FROM reznet_app",
            "GRANT SELECT ON profile.flushes TO reznet_app",
            "samples",
        ),
        (
            "ALTER TABLE profile.totals RENAME TO away",
            "ALTER TABLE profile.away RENAME TO totals",
            "histograms",
        ),
        ("", "", "none"),
    ] {
        superuser.batch_execute(sql).await.unwrap();
        let answer = edge.get("/api/performance/metrics").await;
        assert_eq!(answer.status, StatusCode::OK, "{sql}: {answer:?}");
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        for (name, family) in [
            (
                "histograms",
                "# TYPE db_client_operation_duration_seconds histogram",
            ),
            (
                "connections",
                "db_client_connections{db_client_connection_state=\"used\"}",
            ),
            (
                "samples",
                "reznet_profiler_recent_samples{outcome=\"lost\"}",
            ),
        ] {
            let is_there = name != section;
            assert_eq!(text.contains(family), is_there, "{sql}: {text}");
            let line = format!(
                "reznet_metrics_available{{section=\"{name}\"}} {}\n",
                u8::from(is_there)
            );
            assert!(text.contains(&line), "{sql}: {text}");
        }
        superuser.batch_execute(undo).await.unwrap();
    }
}
