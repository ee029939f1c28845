//! Tests of messages in partitions by month. Messages obey the same rules as in a single table. Partitions can be added and detached.

use serde_json::{Value, json};
use support::{Database, Edge};
use tokio_postgres::Client;

use super::{channel, database, migrated, one, succeeds, text};

async fn by_month() -> Database {
    let database = database().await;
    database.optional("optional", "messages_by_month").await;
    let client = database.client().await;
    client
        .batch_execute("CALL messages_mirror_drop()")
        .await
        .unwrap();
    database
}

/// Fails unless the SQL is refused with this SQLSTATE and constraint.
async fn refuses(client: &Client, sql: &str, code: &str, constraint: &str) {
    let error = client.batch_execute(sql).await.expect_err(sql);
    let error = error.as_db_error().expect("the server refuses it");
    assert_eq!(error.code().code(), code, "{sql}: {error:?}");
    assert_eq!(error.constraint(), Some(constraint), "{sql}: {error:?}");
}

#[tokio::test]
async fn partitioned_table_enforces_the_same_named_constraints() {
    let one_table = database().await;
    let partitions = by_month().await;
    for database in [&one_table, &partitions] {
        let client = database.client().await;
        let insert = "INSERT INTO messages (channel_id, author_type, author_name, content, thread_id, metadata)
            SELECT id, 'user', 'u', 'x', NULL, '{}' FROM channels WHERE name = 'general'";
        for (from, to, code, constraint) in [
            ("'user'", "'other'", "23514", "messages_author_type_check"),
            ("'u'", "''", "23514", "messages_author_name_check"),
            ("'x'", "''", "23514", "messages_content_check"),
            ("'{}'", "'[]'", "23514", "messages_metadata_check"),
            (
                "NULL",
                "gen_random_uuid()",
                "23503",
                "messages_thread_id_fkey",
            ),
            (
                "SELECT id",
                "SELECT gen_random_uuid()",
                "23503",
                "messages_channel_id_fkey",
            ),
        ] {
            refuses(&client, &insert.replacen(from, to, 1), code, constraint).await;
        }
        // The first message of a thread can't be deleted alone. But one statement can insert or delete the message and its replies together.
        client
            .batch_execute(
                "WITH first AS (INSERT INTO messages (id, channel_id, author_type, author_name, content)
                    SELECT 'aaaaaaaa-0000-0000-0000-000000000000', id, 'user', 'u', 'x' FROM channels WHERE name = 'general')
                 INSERT INTO messages (channel_id, author_type, author_name, content, thread_id)
                 SELECT id, 'user', 'u', 'x', 'aaaaaaaa-0000-0000-0000-000000000000' FROM channels WHERE name = 'general'",
            )
            .await
            .unwrap();
        let first = "id = 'aaaaaaaa-0000-0000-0000-000000000000'";
        refuses(
            &client,
            &format!("DELETE FROM messages WHERE {first}"),
            "23503",
            "messages_thread_id_fkey",
        )
        .await;
        refuses(
            &client,
            "DELETE FROM channels WHERE name = 'general'",
            "23503",
            "messages_channel_id_fkey",
        )
        .await;
        client
            .batch_execute("DELETE FROM messages WHERE 'aaaaaaaa-0000-0000-0000-000000000000' IN (id, thread_id)")
            .await
            .unwrap();
    }
    let (one_table, partitions) = (one_table.client().await, partitions.client().await);
    for same in [
        "SELECT relacl::text FROM pg_class WHERE oid = 'messages'::regclass",
        "SELECT relowner::regrole::text FROM pg_class WHERE oid = 'messages'::regclass",
        "SELECT string_agg(attname || format_type(atttypid, atttypmod) || attnotnull || coalesce(pg_get_expr(adbin, adrelid), ''), ' '
             ORDER BY attnum) FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
         WHERE attrelid = 'messages'::regclass AND attnum > 0",
    ] {
        let value = one::<String>(&one_table, same).await;
        assert_eq!(one::<String>(&partitions, same).await, value);
    }
    // The component's role can access the partitions only through the partitioned table messages.
    let rights = "SELECT count(*) FROM messages_partitions() WHERE has_table_privilege('reznet_app', partition, 'SELECT')";
    assert_eq!(one::<i64>(&partitions, rights).await, 0);
    let routines = "SELECT count(*) FROM pg_proc WHERE proname LIKE 'messages\\_%' AND has_function_privilege('reznet_app', oid, 'EXECUTE')";
    assert_eq!(one::<i64>(&partitions, routines).await, 0);
}

#[tokio::test]
async fn report_aggregates_partitions_into_one_table() {
    let database = by_month().await;
    let edge = Edge::start(&database).await;
    let path = format!(
        "/api/channels/{}/messages",
        channel(&edge, "planning").await
    );
    for _ in 0..20 {
        assert_eq!(edge.get(&path).await.status, 200);
    }
    let client = database.client().await;
    let scans = "SELECT sum(idx_scan)::bigint FROM pg_stat_user_indexes
        WHERE indexrelid IN (SELECT relid FROM pg_partition_tree('idx_messages_channel_created'))";
    while one::<i64>(&client, scans).await < 20 {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    let report = edge.get("/api/performance/database").await.json();
    let contract = report["index_contract"].as_array().expect("a list");
    assert_eq!(contract.len(), 16);
    for index in contract {
        assert_eq!(index["state"], "ok", "{index}");
    }
    let of = |list: &str, member: &str, name: &str| -> Vec<Value> {
        let rows = report[list].as_array().expect("a list").iter();
        rows.filter(|row| row[member] == name).cloned().collect()
    };
    let scanned = of("index_contract", "index", "idx_messages_channel_created");
    assert!(scanned[0]["scans"].as_i64() >= Some(20), "{scanned:?}");
    assert_eq!(of("table_sizes", "table", "messages").len(), 1);
    assert!(of("table_sizes", "table", "messages")[0]["size_bytes"].as_i64() > Some(1_000_000));
    assert_eq!(of("index_usage", "index", "messages_pkey").len(), 1);
    for advice in report["advice"].as_array().expect("a list") {
        let detail = text(advice, "detail");
        assert!(
            !detail.contains("messages_2"),
            "the advice must name the parent, not a partition: {detail}"
        );
    }
    let stats = edge.get("/api/stats").await.json();
    assert_eq!(stats["messages"]["total"], 30_000);
}

#[tokio::test]
async fn blocking_session_is_named_and_differing_mirror_is_not_swapped() {
    let database = database().await;
    let client = database.client().await;
    let mut reader = database.client().await;
    let reading = reader.transaction().await.unwrap();
    let read =
        "SELECT count(*), set_config('application_name', 'nightly-report', false) FROM messages";
    reading.query(read, &[]).await.unwrap();
    let arguments = ["optional", "messages_by_month", "--wait", "2"];
    let output = migrated(&database, &arguments).await;
    assert!(!output.status.success(), "{output:?}");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.contains("nightly-report"), "{error}");
    reading.rollback().await.unwrap();
    succeeds(&database, &arguments).await;

    let lose =
        "DELETE FROM messages_mirror WHERE id = (SELECT id FROM messages OFFSET 15000 LIMIT 1)";
    client.batch_execute(lose).await.unwrap();
    let output = migrated(&database, &["undo", "messages_by_month"]).await;
    assert!(!output.status.success(), "{output:?}");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(
        error.contains("messages and messages_mirror differ"),
        "{error}"
    );
    let rows = "SELECT count(*) FROM messages";
    assert_eq!(one::<i64>(&client, rows).await, 30_000);
    client
        .batch_execute("CALL messages_mirror_drop()")
        .await
        .unwrap();
    succeeds(&database, &["undo", "messages_by_month"]).await;
    assert_eq!(one::<i64>(&client, rows).await, 30_000);
}

#[tokio::test]
async fn paging_across_months_returns_every_message_once() {
    let database = by_month().await;
    let edge = Edge::start(&database).await;
    let planning = channel(&edge, "planning").await;
    for path in [
        format!("/api/channels/{planning}/messages?limit=200"),
        "/api/messages?limit=200".to_owned(),
    ] {
        let (mut seen, mut next) = (Vec::new(), Some(path.clone()));
        while let Some(page) = next {
            let answer = edge.get(&page).await;
            assert_eq!(answer.status, 200, "{answer:?}");
            next = answer.next();
            let rows = answer.json();
            let times = rows.as_array().expect("a list").iter();
            let times: Vec<_> = times.map(|row| text(row, "created_at")).collect();
            assert!(times.is_sorted(), "{page}: {times:?}");
            // The order of rows differs. The next page of a channel has older messages, but the next page of /api/messages has newer ones.
            if path.starts_with("/api/channels/") {
                seen.splice(0..0, times);
            } else {
                seen.extend(times);
            }
        }
        assert_eq!(seen.len(), 30_000, "{path}");
        assert!(
            seen.is_sorted_by(|a, b| a < b),
            "{path}: messages come twice"
        );
    }
}

#[tokio::test]
async fn month_partitions_are_added_in_advance_or_late() {
    let database = by_month().await;
    let client = database.client().await;
    let edge = Edge::start(&database).await;
    let path = format!("/api/channels/{}/messages", channel(&edge, "general").await);
    let ranges = "SELECT string_agg(to_char(starts_at AT TIME ZONE 'UTC', 'YYYY-MM'), ' ' ORDER BY starts_at) FROM messages_partitions()
        WHERE starts_at >= date_trunc('month', now() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC'";
    let months = "SELECT string_agg(to_char(month, 'YYYY-MM'), ' ' ORDER BY month)
        FROM generate_series(date_trunc('month', now() AT TIME ZONE 'UTC'), date_trunc('month', now() AT TIME ZONE 'UTC') + interval '3 months', '1 month') AS month";
    let expected: String = one(&client, months).await;
    assert_eq!(one::<String>(&client, ranges).await, expected);
    client
        .batch_execute("CALL messages_add_months()")
        .await
        .unwrap();
    assert_eq!(
        one::<String>(&client, ranges).await,
        expected,
        "all months exist already"
    );
    client
        .batch_execute("CALL messages_add_months(5)")
        .await
        .unwrap();
    assert_eq!(
        one::<String>(&client, ranges).await.len(),
        expected.len() + 16
    );

    // If the operator adds no partitions, the last partition receives all newer messages.
    client
        .batch_execute(
            "DO $$ DECLARE part regclass; began timestamptz; BEGIN
                SELECT min(starts_at) INTO began FROM messages_partitions()
                WHERE starts_at > now() - interval '100 days';
                CREATE TABLE late (LIKE messages INCLUDING ALL EXCLUDING INDEXES);
                FOR part IN SELECT partition FROM messages_partitions() WHERE starts_at >= began LOOP
                    EXECUTE format('INSERT INTO late SELECT * FROM %s', part);
                    EXECUTE format('DROP TABLE %s', part);
                END LOOP;
                PERFORM messages_make_partition('messages', began, quote_literal(began), 'MAXVALUE');
                INSERT INTO messages SELECT * FROM late;
                DROP TABLE late;
            END $$",
        )
        .await
        .unwrap();
    assert_eq!(
        one::<i64>(&client, "SELECT count(*) FROM messages").await,
        30_000
    );
    assert_eq!(edge.post(&path, &json!({"content": "x"})).await.status, 201);
    client
        .batch_execute("CALL messages_add_months()")
        .await
        .unwrap();
    let last = "SELECT ends_at - starts_at > interval '90 days' FROM messages_partitions() WHERE now() BETWEEN starts_at AND ends_at";
    assert!(
        one::<bool>(&client, last).await,
        "the current partition must end after the months that have begun"
    );
    let gaps = "SELECT count(*) FROM (SELECT starts_at, lag(ends_at) OVER (ORDER BY starts_at) AS before FROM messages_partitions()) AS p
        WHERE starts_at <> before";
    assert_eq!(one::<i64>(&client, gaps).await, 0);
    let coming = "SELECT max(starts_at) >= now() + interval '60 days' FROM messages_partitions()";
    assert!(one::<bool>(&client, coming).await);
    assert_eq!(edge.post(&path, &json!({"content": "x"})).await.status, 201);
    assert_eq!(
        one::<i64>(&client, "SELECT count(*) FROM messages").await,
        30_002
    );
    client
        .batch_execute("CALL messages_add_months()")
        .await
        .unwrap();
    succeeds(&database, &["verify"]).await;

    // Inserts a message with a date in the year 2999. The function that adds months must not create partitions for all months until then.
    let future = "INSERT INTO messages (channel_id, author_type, author_name, content, created_at)
        SELECT id, 'user', 'u', 'x', '2999-01-01' FROM channels LIMIT 1";
    client.batch_execute(future).await.unwrap();
    let error = client
        .batch_execute("CALL messages_add_months(7)")
        .await
        .expect_err("refused");
    assert!(format!("{error:?}").contains("yet to come"), "{error:?}");
    client
        .batch_execute("DELETE FROM messages WHERE created_at > '2998-01-01'")
        .await
        .unwrap();
}

/// A thread accepts replies even if the partition of its first message has been detached. But the migration can't be undone until the
/// references to this message are removed.
#[tokio::test]
async fn oldest_month_partitions_can_be_detached() {
    let database = by_month().await;
    let client = database.client().await;
    let edge = Edge::start(&database).await;
    let oldest = "SELECT id::text FROM messages ORDER BY created_at LIMIT 1";
    let oldest = one::<String>(&client, oldest).await;
    let joins = format!(
        "INSERT INTO messages (channel_id, author_type, author_name, content, thread_id)
        SELECT channel_id, 'user', 'u', 'x', id FROM messages WHERE id = '{oldest}'"
    );
    client.batch_execute(&joins).await.unwrap();
    let date = "SELECT (now() - interval '6 months')::date::text";
    let detach = format!(
        "CALL messages_detach_before('{}')",
        one::<String>(&client, date).await
    );
    let name = "SELECT partition::text FROM messages_partitions() ORDER BY starts_at LIMIT 1";
    let name = one::<String>(&client, name).await;
    client.batch_execute(&detach).await.unwrap();
    let alone = format!("SELECT count(*) FROM {name}");
    assert!(one::<i64>(&client, &alone).await > 100);
    assert_eq!(
        edge.get(&format!("/api/messages/{oldest}")).await.status,
        404
    );
    assert_eq!(edge.get("/api/messages?limit=200").await.status, 200);
    succeeds(&database, &["verify"]).await;
    client
        .batch_execute(&format!("DROP TABLE {name}"))
        .await
        .unwrap();

    let output = migrated(&database, &["undo", "messages_by_month"]).await;
    assert!(!output.status.success(), "{output:?}");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.contains("messages_thread_id_fkey"), "{error}");
    let undo = std::fs::read_to_string(
        support::project().join("migrations/optional/messages_by_month.undo.sql"),
    );
    let undo = undo.unwrap();
    let told: String = undo
        .lines()
        .filter_map(|line| line.strip_prefix("--   "))
        .collect::<Vec<_>>()
        .join(" ");
    client
        .batch_execute(&told)
        .await
        .expect("the SQL in the file's comment is valid");
    succeeds(&database, &["undo", "messages_by_month"]).await;
    succeeds(&database, &["verify"]).await;
    assert_eq!(edge.get("/api/messages?limit=200").await.status, 200);
}

#[tokio::test]
async fn partitioning_reports_dependent_views_before_any_change() {
    let database = Database::migrated().await;
    let client = database.client().await;
    client
        .batch_execute("CREATE VIEW loud AS SELECT * FROM messages WHERE content = upper(content)")
        .await
        .unwrap();
    let output = migrated(&database, &["optional", "messages_by_month"]).await;
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.contains("the view or rule of loud"), "{error}");
    assert!(one::<bool>(&client, "SELECT to_regclass('messages_mirror') IS NULL").await);
    client.batch_execute("DROP VIEW loud").await.unwrap();
    succeeds(&database, &["optional", "messages_by_month"]).await;

    // `scripts/migrate` refuses a new migration until the mirror of messages is dropped, because the migration wouldn't change the mirror.
    let output = migrated(&database, &["status"]).await;
    let status = String::from_utf8_lossy(&output.stdout);
    assert!(status.contains("optional messages_by_month"), "{status}");
    client
        .batch_execute("DELETE FROM migration_ledger WHERE name = (SELECT max(name) FROM migration_ledger WHERE name NOT LIKE 'optional/%')",
        )
        .await
        .unwrap();
    let output = migrated(&database, &["up"]).await;
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.contains("messages is being moved"), "{error}");
    client
        .batch_execute("CALL messages_mirror_drop()")
        .await
        .unwrap();
    succeeds(&database, &["up"]).await;
}
