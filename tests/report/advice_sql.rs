//! Executes every SQL text that the performance report can advise, unchanged, with messages in one table and in partitions. Afterwards,
//! the report must no longer have this advice.

use std::collections::BTreeSet;
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use support::{Cluster, Edge, database_variables, migrate, project};
use tokio_postgres::Client;

/// A defect of a database, and the expected advice. Each piece of advice is given by its name and the first word of its detail.
struct Case {
    setup: &'static str,
    /// A statement that fails and leaves an invalid index.
    broken: &'static str,
    advice: &'static [(&'static str, &'static str)],
}

const fn case(setup: &'static str, advice: &'static [(&'static str, &'static str)]) -> Case {
    Case {
        setup,
        broken: "",
        advice,
    }
}

/// The cases, which run with messages in one table and again with messages in partitions.
const CASES: &[Case] = &[
    case(
        "DROP INDEX idx_agents_name, idx_agents_type, idx_agents_active, idx_agents_type_active, idx_messages_channel_id,
             idx_messages_created_at, idx_messages_author_id, idx_messages_channel_created, idx_workflows_status,
             idx_workflows_created_at, idx_workflows_channel_id, idx_workflows_status_created, idx_workflow_tasks_workflow_id,
             idx_workflow_tasks_status, idx_workflow_tasks_order, idx_workflow_tasks_workflow_status",
        &[
            ("index_missing", "idx_agents_active"),
            ("index_missing", "idx_agents_name"),
            ("index_missing", "idx_agents_type"),
            ("index_missing", "idx_agents_type_active"),
            ("index_missing", "idx_messages_author_id"),
            ("index_missing", "idx_messages_channel_created"),
            ("index_missing", "idx_messages_channel_id"),
            ("index_missing", "idx_messages_created_at"),
            ("index_missing", "idx_workflow_tasks_order"),
            ("index_missing", "idx_workflow_tasks_status"),
            ("index_missing", "idx_workflow_tasks_workflow_id"),
            ("index_missing", "idx_workflow_tasks_workflow_status"),
            ("index_missing", "idx_workflows_channel_id"),
            ("index_missing", "idx_workflows_created_at"),
            ("index_missing", "idx_workflows_status"),
            ("index_missing", "idx_workflows_status_created"),
        ],
    ),
    // Replaces required indexes by indexes with another definition, by the index of a constraint, by an index that a foreign key needs, and
    // by a view and a type with the index's name.
    case(
        "DROP INDEX idx_messages_created_at, idx_messages_author_id, idx_agents_active, idx_agents_type, idx_workflows_status,
             idx_workflow_tasks_order;
         CREATE INDEX idx_messages_created_at ON messages (created_at DESC, id);
         CREATE INDEX idx_messages_author_id ON messages (author_id) WITH (fillfactor = 80);
         ALTER TABLE agents ADD CONSTRAINT idx_agents_active UNIQUE (is_active, created_at, id);
         CREATE UNIQUE INDEX idx_agents_type ON agents (agent_type, id);
         CREATE TABLE needs (agent_type text, id uuid, CONSTRAINT needs_type FOREIGN KEY (agent_type, id)
             REFERENCES agents (agent_type, id), PRIMARY KEY (agent_type, id));
         CREATE VIEW idx_workflows_status AS SELECT 1;
         CREATE TYPE idx_workflow_tasks_order AS (a int)",
        &[
            ("index_changed", "idx_agents_active"),
            ("index_changed", "idx_agents_type"),
            ("index_changed", "idx_messages_author_id"),
            ("index_changed", "idx_messages_created_at"),
            ("index_changed", "idx_workflow_tasks_order"),
            ("index_changed", "idx_workflows_status"),
        ],
    ),
    case(
        "DROP TABLE needs; DROP INDEX IF EXISTS agents_type_too",
        &[],
    ),
    Case {
        setup: "CREATE TABLE \"In;valid\" (\"A b\" int); INSERT INTO \"In;valid\" VALUES (1), (2)",
        broken: "CREATE UNIQUE INDEX CONCURRENTLY \"Bro'ken\" ON \"In;valid\" ((\"A b\" / \"A b\"))",
        advice: &[("invalid_index", "Bro'ken")],
    },
    case("TRUNCATE \"In;valid\"", &[]),
    // Leaves an invalid index on a partitioned table, as after an interrupted attempt to create it for all partitions.
    case(
        "CREATE TABLE parted (a int, b int) PARTITION BY LIST (a);
         CREATE TABLE parted_1 PARTITION OF parted FOR VALUES IN (1);
         CREATE TABLE \"Parted 2\" PARTITION OF parted FOR VALUES IN (2) PARTITION BY LIST (b);
         CREATE TABLE parted_21 PARTITION OF \"Parted 2\" FOR VALUES IN (1);
         CREATE TABLE parted_22 PARTITION OF \"Parted 2\" DEFAULT;
         CREATE UNIQUE INDEX \"Half made\" ON ONLY parted (b, a)",
        &[("invalid_index", "Half")],
    ),
    case(
        "CREATE SCHEMA IF NOT EXISTS \"El se\";
         CREATE TABLE \"El se\".parted_3 PARTITION OF parted FOR VALUES IN (3);
         CREATE TABLE target (\"X\" text COLLATE \"POSIX\", y int, PRIMARY KEY (\"X\", y));
         CREATE TABLE \"Re;fers\" (y int, \"x\" text, CONSTRAINT \"a;key\" FOREIGN KEY (x, y) REFERENCES target);
         ALTER TABLE parted ADD CONSTRAINT parted_key FOREIGN KEY (a) REFERENCES single (id)",
        &[("unindexed_foreign_key", "a;key"), ("unindexed_foreign_key", "parted_key")],
    ),
    case(
        "CREATE TABLE twins (a int, b int, c text);
         CREATE INDEX \"Twin 1\" ON twins (a, b); CREATE INDEX \"Twin 2\" ON twins (a, b); CREATE INDEX \"Begins\" ON twins (a);
         ALTER TABLE twins ADD CONSTRAINT \"Once;\" UNIQUE (c), ADD CONSTRAINT \"Twice;\" UNIQUE (c);
         CREATE INDEX messages_twin ON messages (created_at, id);
         CREATE INDEX messages_begins ON messages (author_id)",
        &[
            ("covered_index", "Begins"),
            ("covered_index", "messages_begins"),
            ("duplicate_index", "Twice;"),
            ("duplicate_index", "Twin"),
            ("duplicate_index", "messages_twin"),
        ],
    ),
    case(
        "CREATE TABLE \"Ne;ver\" AS SELECT n FROM generate_series(1, 2000) AS n;
         CREATE TABLE idle AS SELECT n FROM generate_series(1, 2000) AS n;
         CREATE INDEX \"I;dle\" ON idle (n);
         ANALYZE idle",
        &[("never_analysed", "Ne;ver"), ("unused_index", "I;dle")],
    ),
    // Deletes an agent. After a row was deleted from agents, the report advises indexes on the foreign keys that refer to agents.
    case(
        "DROP INDEX IF EXISTS workflow_tasks_agent_id_idx, workflows_orchestrator_id_idx;
         DO $$ DECLARE index regclass; BEGIN
             FOR index IN
                 SELECT indexrelid FROM pg_index JOIN pg_attribute ON attrelid = indrelid AND attnum = indkey[0]
                 WHERE indrelid = 'tasks'::regclass AND attname = 'assigned_to'
             LOOP EXECUTE 'DROP INDEX ' || index; END LOOP;
         END $$;
         INSERT INTO agents (name, agent_type) VALUES ('@gone', 'qa'); DELETE FROM agents WHERE name = '@gone'",
        &[
            ("unindexed_foreign_key", "tasks_assigned_to_fkey"),
            ("unindexed_foreign_key", "workflow_tasks_agent_id_fkey"),
            ("unindexed_foreign_key", "workflows_orchestrator_id_fkey"),
        ],
    ),
];

/// Drops the objects of one layout before the cases run on the other.
const CLEAN: &str =
    "DROP TABLE \"In;valid\", parted, \"Re;fers\", target, twins, \"Ne;ver\", idle CASCADE";

async fn advice(edge: &Edge) -> Vec<Value> {
    let report = edge.get("/api/performance/database").await.json();
    report["advice"].as_array().expect("a list").clone()
}

fn key(one: &Value) -> (String, String) {
    let text = |member: &str| one[member].as_str().expect("a text").to_owned();
    let detail = text("detail");
    (
        text("name"),
        detail.split(' ').next().unwrap_or_default().to_owned(),
    )
}

/// Returns the advice once it contains everything in `expected`, or after ten seconds. Waits because PostgreSQL publishes
/// statistics with a delay.
async fn advice_with(edge: &Edge, expected: &BTreeSet<(String, String)>) -> Vec<Value> {
    let mut found = Vec::new();
    for _ in 0..100 {
        found = advice(edge).await;
        let keys: BTreeSet<_> = found.iter().map(key).collect();
        if keys.is_superset(expected) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    found
}

/// Runs SQL unchanged with psql, as an operator does. psql sends one statement after the other.
fn psql(url: &str, sql: &str) -> Result<(), String> {
    let config: tokio_postgres::Config = url.parse().expect("the URL is valid");
    let password = String::from_utf8_lossy(config.get_password().unwrap_or_default()).into_owned();
    let plain = url.replacen(&format!(":{password}@"), "@", 1);
    // Sets an empty search_path, because the advised SQL must qualify every name.
    let mut process = Command::new("psql")
        .args(["-XqAt", "-v", "ON_ERROR_STOP=1", &plain])
        .env("PGPASSWORD", password)
        .env("PGOPTIONS", "-c search_path=")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("psql runs");
    let mut input = process.stdin.take().expect("piped");
    input.write_all(sql.as_bytes()).expect("psql reads");
    drop(input);
    let output = process.wait_with_output().expect("psql ends");
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() {
        Ok(())
    } else {
        Err(errors)
    }
}

async fn run_cases(edge: &Edge, client: &Client, url: &str, layout: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for case in CASES {
        client
            .batch_execute(case.setup)
            .await
            .unwrap_or_else(|error| panic!("{layout}: {}: {error:?}", case.setup));
        if !case.broken.is_empty() {
            assert!(
                client.batch_execute(case.broken).await.is_err(),
                "{}",
                case.broken
            );
            client.batch_execute("TRUNCATE \"In;valid\"").await.unwrap();
        }
        let expected: BTreeSet<_> = case
            .advice
            .iter()
            .map(|(name, about)| ((*name).to_owned(), (*about).to_owned()))
            .collect();
        let found = advice_with(edge, &expected).await;
        let keys: BTreeSet<_> = found.iter().map(key).collect();
        assert!(
            keys.is_superset(&expected),
            "{layout}: {expected:?}: {found:#?}"
        );
        for one in &found {
            let sql = one["sql"]
                .as_str()
                .unwrap_or_else(|| panic!("{layout}: {one}"));
            psql(url, sql).unwrap_or_else(|error| panic!("{layout}: {error}\n{sql}"));
            names.insert(key(one).0);
        }
        // Waits for the statistics of an ANALYZE, which PostgreSQL publishes with a delay. The report shows a dropped or created index
        // immediately.
        let mut left = advice(edge).await;
        for _ in 0..100 {
            if left.is_empty() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
            left = advice(edge).await;
        }
        assert!(
            left.is_empty(),
            "{layout}: after {found:#?} there is still {left:#?}"
        );
    }
    names
}

#[tokio::test]
async fn advice_sql_runs_unchanged_and_resolves_its_advice() {
    let cluster = Cluster::start();
    let url = cluster.url();
    migrate(&url).unwrap();
    let app_url = cluster.app_url();
    let variables = [
        &database_variables(&app_url)[..],
        &[("profiling", "off"), ("unused_index_days", "0")],
    ]
    .concat();
    let edge = Edge::start_at(&variables, &[]).await;
    let client = cluster.client().await;
    client
        .batch_execute("CREATE TABLE single (id int PRIMARY KEY)")
        .await
        .unwrap();
    let plain = run_cases(&edge, &client, &url, "one table").await;
    client.batch_execute(CLEAN).await.unwrap();

    let optional = Command::new(project().join("scripts/migrate"))
        .args(["optional", "messages_by_month"])
        .env("DATABASE_URL", &url)
        .output()
        .unwrap();
    assert!(
        optional.status.success(),
        "{}",
        String::from_utf8_lossy(&optional.stderr)
    );
    client
        .batch_execute("CALL messages_mirror_drop()")
        .await
        .unwrap();
    let partitioned = "SELECT relkind = 'p' FROM pg_class WHERE oid = 'public.messages'::regclass";
    assert!(
        client
            .query_one(partitioned, &[])
            .await
            .unwrap()
            .get::<_, bool>(0)
    );
    let by_month = run_cases(&edge, &client, &url, "by month").await;

    let all = [
        "covered_index",
        "duplicate_index",
        "index_changed",
        "index_missing",
        "invalid_index",
        "never_analysed",
        "unindexed_foreign_key",
        "unused_index",
    ];
    for names in [plain, by_month] {
        assert_eq!(names.iter().map(String::as_str).collect::<Vec<_>>(), all);
    }

    // Creates the state after a crash. Some indexes are invalid, among them indexes that the migrations declare. One declared index of the
    // partitioned table lacks the index of a partition.
    let superuser = cluster.superuser().await;
    superuser
        .batch_execute(
            "UPDATE pg_index SET indisvalid = false
             WHERE indexrelid IN ('idx_agents_type'::regclass, 'idx_agents_name'::regclass, 'agents_pkey'::regclass);
             DROP INDEX idx_messages_channel_id;
             CREATE INDEX idx_messages_channel_id ON ONLY messages (channel_id);
             CREATE TABLE crashed (a int);
             CREATE INDEX crashed_a_idx_ccnew1 ON crashed (a);
             UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'crashed_a_idx_ccnew1'::regclass;
             ALTER TABLE crashed OWNER TO reznet",
        )
        .await
        .unwrap();
    let found = advice(&edge).await;
    let keys: BTreeSet<_> = found.iter().map(key).collect();
    let expected = [
        ("index_invalid", "idx_agents_name"),
        ("index_invalid", "idx_agents_type"),
        ("index_invalid", "idx_messages_channel_id"),
        ("invalid_index", "agents_pkey"),
        ("invalid_index", "crashed_a_idx_ccnew1"),
    ]
    .map(|(name, about)| (name.to_owned(), about.to_owned()));
    assert_eq!(keys, expected.into());
    for one in &found {
        let sql = one["sql"].as_str().unwrap_or_else(|| panic!("{one}"));
        psql(&url, sql).unwrap_or_else(|error| panic!("{error}\n{sql}"));
    }
    assert_eq!(advice(&edge).await, Vec::<Value>::new());
    let report = edge.get("/api/performance/database").await.json();
    let contract = report["index_contract"].as_array().unwrap();
    assert!(
        contract.iter().all(|one| one["state"] == "ok"),
        "{contract:#?}"
    );
}

#[tokio::test]
async fn advice_sql_cancels_a_long_running_query() {
    let cluster = Cluster::start();
    migrate(&cluster.url()).unwrap();
    let url = cluster.app_url();
    let variables = [
        &database_variables(&url)[..],
        &[("profiling", "off"), ("db_statement_timeout_ms", "500")],
    ]
    .concat();
    let edge = Edge::start_at(&variables, &[]).await;
    let sleeper = cluster.client().await;
    let sleep = tokio::spawn(async move { sleeper.batch_execute("SELECT pg_sleep(60)").await });
    let long = ("long_running_query".to_owned(), "process".to_owned());
    let found = advice_with(&edge, &[long.clone()].into()).await;
    let one = found
        .iter()
        .find(|one| key(one) == long)
        .expect("the advice is found");
    psql(&cluster.url(), one["sql"].as_str().unwrap()).unwrap();
    let error = sleep.await.unwrap().unwrap_err();
    assert_eq!(
        error.code(),
        Some(&tokio_postgres::error::SqlState::QUERY_CANCELED)
    );
}

#[tokio::test]
async fn recommended_sql_can_be_run_by_a_superuser() {
    let cluster = Cluster::start();
    migrate(&cluster.url()).unwrap();
    let superuser = cluster.superuser().await;
    superuser
        .batch_execute("DROP EXTENSION IF EXISTS pg_stat_statements")
        .await
        .unwrap();
    let url = cluster.app_url();
    let edge = Edge::start_at(&database_variables(&url), &[]).await;
    let report = edge.get("/api/performance/database").await.json();
    let recommendations = report["slow_query_logging"]["recommendations"].clone();
    let mut count = 0;
    for recommendation in recommendations.as_array().unwrap() {
        let text = recommendation.as_str().unwrap();
        // A recommendation is a sentence, followed by a colon, SQL statements that end with semicolons, and sometimes a remark in parentheses.
        let Some((_, sql)) = text.split_once(": ").filter(|(_, sql)| sql.contains(';')) else {
            continue;
        };
        for statement in sql.split_inclusive(';').filter(|part| part.contains(';')) {
            superuser
                .batch_execute(statement)
                .await
                .unwrap_or_else(|error| panic!("{statement}: {error}"));
            count += 1;
        }
    }
    assert_eq!(count, 3, "{recommendations}");
    let edge = Edge::start_at(&database_variables(&url), &[]).await;
    let after = edge.get("/api/performance/database").await.json();
    let left = after["slow_query_logging"]["recommendations"]
        .as_array()
        .unwrap();
    assert_eq!(left.len(), 1, "{left:?}");
}
