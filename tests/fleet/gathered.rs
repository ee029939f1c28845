//! Tests of the data that all instances of the component record in the tables of the schema `profile`.

use std::collections::BTreeMap;
use std::time::Duration;

use http::{Method, Request, StatusCode};
use http_body_util::Full;
use reznet_bench::Load;
use serde_json::Value;
use support::{Database, Edge};

use super::soon;

const ORCHESTRATOR: &str = "/api/agents/name/orchestrator";

/// Sends 50,000 requests, 50 at once. At least 25 instances serve them, because an instance serves at most 2,000 requests.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_counted_in_the_database_is_what_the_headers_said() {
    const REQUESTS: i64 = 50_000;
    let database = Database::migrated().await;
    let flags = [
        "--max-instance-reuse-count",
        "2000",
        "--max-instance-concurrent-reuse-count",
        "4",
    ];
    let edge = Edge::start_with(&database, &[], &flags).await;
    let paths = [
        ORCHESTRATOR,
        "/api/health",
        "/api/agents?limit=3",
        "/api/agents/x",
    ];
    let load = Load {
        paths: paths.map(str::to_owned).to_vec(),
        requests: usize::try_from(REQUESTS).unwrap(),
        concurrency: 50,
        rate: None,
        seconds: None,
        keep_alive: false,
    };
    let figures = load.run(&edge.url()).await.unwrap();
    let statuses = BTreeMap::from([(200, 37_500), (422, 12_500)]);
    assert_eq!(figures.statuses, statuses);
    let queries = i64::try_from(figures.query_count).unwrap();
    assert_eq!(queries, REQUESTS / 2);
    let samples = REQUESTS + queries;
    let client = database.client().await;
    for (expected, sql) in [
        (
            queries,
            "SELECT sum(count)::bigint FROM profile.gathered WHERE kind = 'statement' AND name <> ''",
        ),
        (
            REQUESTS,
            "SELECT sum(count)::bigint FROM profile.gathered WHERE kind = 'route' AND name <> ''",
        ),
        (
            queries,
            "SELECT sum(query_count)::bigint FROM profile.gathered WHERE kind = 'route' AND name = ''",
        ),
        (
            // The total of all routes excludes requests that were refused with 422.
            samples - REQUESTS / 4,
            "SELECT sum(n)::bigint FROM profile.gathered, unnest(bin_counts) AS n WHERE name = ''",
        ),
        (
            REQUESTS / 4,
            "SELECT sum(count)::bigint FROM profile.gathered WHERE kind = 'route' AND name = '(refused 422)'",
        ),
        (samples, "SELECT sum(gathered)::bigint FROM profile.flushes"),
        (samples, "SELECT sum(flushed)::bigint FROM profile.flushes"),
        (0, "SELECT sum(lost)::bigint FROM profile.flushes"),
        (
            0,
            "SELECT count(*) FROM profile.gathered WHERE sum_us < max_us OR bins = '{}'",
        ),
        (
            4,
            "SELECT count(DISTINCT name) FROM profile.gathered WHERE kind = 'route' AND name <> ''",
        ),
    ] {
        soon(&client, sql, expected).await;
    }
    // Waits for a rollup, which must count each sample exactly once although flushes run at the same time. A flush starts a rollup at random,
    // about once for each 500 rows. If no flush has started a rollup for two minutes, the next flush starts one.
    let (samples, minutes) = (
        "SELECT count(*) FROM profile.samples",
        "SELECT count(*) FROM profile.minutes",
    );
    let count = async |sql| client.query_one(sql, &[]).await.unwrap().get::<_, i64>(0);
    for _ in 0..150 {
        if count(minutes).await > 0 {
            break;
        }
        edge.get(ORCHESTRATOR).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert!(count(samples).await < 10_000 && count(minutes).await > 0);
    // Flushes are batched, so there are far fewer flushes than requests.
    let flushes = client.query_one("SELECT sum(count)::bigint FROM profile.flushes", &[]);
    let flushes: i64 = flushes.await.unwrap().get(0);
    assert!((25..REQUESTS / 20).contains(&flushes), "{flushes} flushes");
}

#[tokio::test]
async fn hosts_that_do_not_reuse_instances_are_sampled_and_weighted() {
    let database = Database::migrated().await;
    let variables = [("profiling_one_in", "4"), ("profiling_flush_ms", "0")];
    let edge = Edge::start_with(&database, &variables, &["--max-instance-reuse-count", "1"]).await;
    for _ in 0..200 {
        edge.get(ORCHESTRATOR).await;
    }
    let client = database.client().await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let count: i64 = client
        .query_one(
            "SELECT sum(count)::bigint FROM profile.gathered WHERE kind = 'route' AND name <> ''",
            &[],
        )
        .await
        .unwrap()
        .get(0);
    assert_eq!(count % 4, 0);
    // About 50 of 200 requests are recorded, each with the weight 4. Fewer than 20 or more than 80 are recorded only once in a hundred
    // thousand runs.
    assert!((80..320).contains(&count), "{count}");
}

#[tokio::test]
async fn a_slow_query_is_kept_with_its_plan() {
    let database = Database::migrated().await;
    let variables = [
        ("slow_query_warn_ms", "100"),
        ("slow_query_error_ms", "200"),
    ];
    let edge = Edge::start_with(&database, &variables, &[]).await;
    // Starts an instance before the measurement, because the first request of an instance takes longer until its query starts.
    edge.get(ORCHESTRATOR).await;
    let client = database.client().await;
    client
        .batch_execute("BEGIN; LOCK TABLE agents IN ACCESS EXCLUSIVE MODE")
        .await
        .unwrap();
    let release = async {
        tokio::time::sleep(Duration::from_millis(700)).await;
        client.batch_execute("COMMIT").await.unwrap();
    };
    let (answer, ()) = tokio::join!(edge.get(ORCHESTRATOR), release);
    assert_eq!(answer.status, StatusCode::OK);
    let id = answer.header("x-request-id");
    let kept = format!(
        "SELECT count(*) FROM profile.slow_queries WHERE statement = 'agent_get_by_name' AND elapsed_us > 300000
           AND route = 'GET /api/agents/name/{{name}}' AND request_id = '{id}' AND plan -> 0 -> 'Plan' IS NOT NULL"
    );
    soon(&client, &kept, 1).await;
    edge.get(ORCHESTRATOR).await;
    soon(&client, "SELECT count(*) FROM profile.slow_queries", 1).await;
}

/// The statement `write_once` executes each write that has an idempotency key. The log, the report and the stored plan must show the
/// write's own statement instead of `write_once`.
#[tokio::test]
async fn idempotent_slow_write_is_stored_with_its_own_plan() {
    let database = Database::migrated().await;
    let variables = [
        ("slow_query_warn_ms", "100"),
        ("slow_query_error_ms", "200"),
    ];
    let edge = Edge::start_with(&database, &variables, &[]).await;
    let agent = edge.get(ORCHESTRATOR).await.json();
    let path = format!("/api/agents/{}", agent["id"].as_str().unwrap());
    let client = database.client().await;
    client
        .batch_execute("BEGIN; SELECT FROM agents FOR UPDATE")
        .await
        .unwrap();
    let release = async {
        tokio::time::sleep(Duration::from_millis(700)).await;
        client.batch_execute("COMMIT").await.unwrap();
    };
    let request = Request::builder()
        .method(Method::PATCH)
        .uri(format!("{}{path}", edge.url()))
        .header("content-type", "application/json")
        .header("idempotency-key", "slow")
        .body(Full::from(r#"{"is_busy": true}"#.to_owned()))
        .unwrap();
    let (answer, ()) = tokio::join!(edge.send(request), release);
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    let id = answer.header("x-request-id");
    let line = edge.log_line(&["SLOW QUERY", id]).await;
    assert!(
        line.contains("ms): agent_update: WITH current AS ("),
        "{line}"
    );
    let kept = format!(
        "SELECT count(*) FROM profile.slow_queries WHERE statement = 'agent_update' AND request_id = '{id}'
           AND jsonb_path_exists(plan, '$.** ? (@.\"Operation\" == \"Update\" && @.\"Relation Name\" == \"agents\")')"
    );
    soon(&client, &kept, 1).await;
}

fn statement(name: &str) -> &'static str {
    let statement = reznet_edge::queries::ALL
        .iter()
        .find(|one| one.name == name);
    statement.expect("the statement is registered").sql
}

/// The slowest runs occurred a month ago, and each later run is quicker. The report of each window must still show the slowest runs within
/// the window, and the table must keep only one row of a statement for each time span.
#[tokio::test]
async fn each_window_has_its_slowest_and_newest_runs_of_each_statement() {
    let database = Database::migrated().await;
    let client = database.client().await;
    let keep = client.prepare(statement("slow_query_keep")).await.unwrap();
    let now_us: i64 = client
        .query_one("SELECT (extract(epoch FROM now()) * 1000000)::bigint", &[])
        .await
        .unwrap()
        .get(0);
    let ran = async |name: &str, elapsed_us: i64, seconds_ago: f64| {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "a month has fewer microseconds"
        )]
        let ran_at_us = now_us - (seconds_ago * 1e6) as i64;
        let nothing = None::<&str>;
        client
            .query(
                &keep,
                &[&name, &elapsed_us, &"GET /", &"r", &ran_at_us, &nothing],
            )
            .await
            .unwrap();
    };
    let month = 29.5 * 86_400.0;
    for n in 0..1000_i32 {
        let part = 1.0 - f64::from(n) / 1000.0;
        ran("agent_get", i64::from(3_000_000 - n), month * part.powi(3)).await;
    }
    ran("channel_get", 501_000, 1.0).await;

    let count = "SELECT count(*) FROM profile.slow_queries WHERE statement = 'agent_get'";
    let count: i64 = client.query_one(count, &[]).await.unwrap().get(0);
    assert!((60..=125).contains(&count), "{count} rows");
    let report = client
        .prepare(statement("performance_slow_queries"))
        .await
        .unwrap();
    for window in [900, 3600, 86_400, 7 * 86_400, 30 * 86_400] {
        let report: String = client.query_one(&report, &[&window]).await.unwrap().get(0);
        let report: Value = serde_json::from_str(&report).unwrap();
        let queries = report["members"]["slow_queries"].as_array().unwrap();
        let of = |name: &str| -> Vec<f64> {
            let queries = queries.iter().filter(|query| query["statement"] == name);
            queries
                .map(|query| query["elapsed_ms"].as_f64().unwrap())
                .collect()
        };
        assert_eq!(
            of("channel_get"),
            [501.0],
            "the slower statement must not hide this one"
        );
        let runs = of("agent_get");
        assert_eq!(runs.len(), 4, "{runs:?}");
        assert!(
            runs.contains(&2999.001),
            "the newest run is missing: {runs:?}"
        );
        // Each later run is quicker, so the slowest run of a window is its first. A time span that began before the window isn't part of the
        // window, so up to a quarter of the window may be missing.
        let seconds_ago = |elapsed_ms: f64| month * (1.0 - (3000.0 - elapsed_ms)).powi(3);
        let first = seconds_ago(runs[0]);
        assert!(
            first > 0.75 * f64::from(window).min(month),
            "{window}: {first}"
        );
    }
}

/// Minutes of one hour, with a gap, are rolled up several times. There must be one total every ten minutes, and each total must be the sum
/// of all minutes before it, counted once.
#[tokio::test]
async fn rollup_sums_minutes_into_totals_and_deletes_old_minutes() {
    let database = Database::migrated().await;
    let client = database.client().await;
    // Inserts one sample for each minute of yesterday from 09:00 to 09:24 and from 09:50 to 09:59, and a minute that is too old to keep.
    client
        .batch_execute(
            "INSERT INTO profile.minutes
             SELECT date_trunc('day', now()) - interval '15 hours' + n * interval '1 minute', 'route', name, 1, 0, n, n, 1, 2,
                    ARRAY[n % 3, 5 + n % 2], ARRAY[1, 1]
             FROM generate_series(0, 59) AS n, unnest(ARRAY['GET /', 'GET /' || n / 10]) AS name
             WHERE n < 25 OR n >= 50;
             INSERT INTO profile.minutes
             SELECT date_trunc('day', now()) - interval '3 days', 'route', 'GET /', 1, 0, 7, 7, 1, 2, '{9}', '{1}'",
        )
        .await
        .unwrap();
    let rollup = statement("fleet_rollup");
    let named = vec!["idx_agents_name", "idx_messages_created_at"];
    // The first rollup adds the old minute to the totals, the second adds the hour, and the others have nothing to do.
    for _ in 0..4 {
        if !client.query(rollup, &[]).await.unwrap().is_empty() {
            let scans = statement("fleet_index_scans");
            client.query(scans, &[&named]).await.unwrap();
        }
    }
    let total = |what: &str, when: &str| {
        format!(
            "SELECT {what}::bigint FROM profile.totals
             WHERE name = 'GET /' AND ended_at = date_trunc('day', now()) - interval '{when}'"
        )
    };
    for (what, when, expected) in [
        ("count", "71 hours 50 minutes", 1),
        ("count", "14 hours 50 minutes", 11),
        ("count", "14 hours 40 minutes", 21),
        ("count", "14 hours 30 minutes", 26),
        ("count", "14 hours", 36),
        ("query_count", "14 hours", 72),
        ("sum_us", "14 hours", 7 + 24 * 25 / 2 + 545),
        (
            "(SELECT sum(n) FROM unnest(bin_counts) AS n)",
            "14 hours",
            71,
        ),
        ("cardinality(bins)", "14 hours", 6),
    ] {
        soon(&client, &total(what, when), expected).await;
    }
    for (expected, sql) in [
        // `profile.totals` is cumulative, so a name that is in one total is in all later totals. The five totals have 1 + 2 + 3 + 4 + 5 rows.
        (15, "SELECT count(*) FROM profile.totals"),
        (70, "SELECT count(*) FROM profile.minutes"),
        (4, "SELECT count(*) FROM profile.index_scans"),
    ] {
        soon(&client, sql, expected).await;
    }
}

/// Samples have the target by which they were judged. Compaction gives a minute with samples of two targets the target 0, and a rollup
/// creates a total for each target.
#[tokio::test]
async fn compaction_and_rollup_keep_targets_apart() {
    let database = Database::migrated().await;
    let client = database.client().await;
    // Inserts one sample for each of these targets (in microseconds) into each of three minutes of yesterday.
    for (minute, targets) in [(0, "100000, 100000"), (1, "50000, 100000"), (2, "50000")] {
        let sql = format!(
            "INSERT INTO profile.samples
             SELECT date_trunc('day', now()) - interval '1 day' + {minute} * interval '1 minute', 'statement', '', 10, 0, 1, 1, 9, 0,
                    '{{1}}', '{{10}}', target_us
             FROM unnest(ARRAY[{targets}]) AS target_us"
        );
        client.batch_execute(&sql).await.unwrap();
    }
    let compact = statement("fleet_compact");
    client.query(compact, &[]).await.unwrap();
    let minutes = async || {
        let sql = "SELECT string_agg(format('%s of %s', count, target_us), ', ' ORDER BY began_at) FROM profile.minutes";
        client
            .query_one(sql, &[])
            .await
            .unwrap()
            .get::<_, String>(0)
    };
    assert_eq!(minutes().await, "20 of 100000, 20 of 0, 10 of 50000");
    client.query(statement("fleet_rollup"), &[]).await.unwrap();
    let total = |target_us: i32| {
        format!(
            "SELECT (count * 1000 + within_target)::bigint FROM profile.totals WHERE target_us = {target_us}"
        )
    };
    for (target_us, expected) in [(100_000, 20_018), (0, 20_018), (50_000, 10_009)] {
        soon(&client, &total(target_us), expected).await;
    }

    let late = "INSERT INTO profile.samples
        SELECT began_at, kind, name, 1, 0, 1, 1, 1, 0, '{1}', '{1}', 100000 FROM profile.minutes";
    client.batch_execute(late).await.unwrap();
    client.query(compact, &[]).await.unwrap();
    assert_eq!(minutes().await, "21 of 100000, 21 of 0, 11 of 0");
}

/// Versions from before migration 0017 store samples without a target, because their target is always 100 ms.
#[tokio::test]
async fn samples_of_older_versions_have_the_target_100_ms() {
    let database = Database::migrated().await;
    let client = database.client().await;
    let old = "INSERT INTO profile.samples SELECT now(), 'route', '', 1, 0, 1, 1, 1, 0, '{1}'::int[], '{1}'::bigint[];
        INSERT INTO profile.minutes AS minutes SELECT '2000-01-01Z', 'route', '', 1, 0, 1, 1, 1, 0, '{1}'::int[], '{1}'::bigint[]
        ON CONFLICT (began_at, kind, name) DO UPDATE SET count = minutes.count + EXCLUDED.count;
        INSERT INTO profile.totals SELECT now(), 'route', '', 1, 0, 1, 1, 0, '{1}'::int[], '{1}'::bigint[]";
    client.batch_execute(old).await.unwrap();
    let minute = "INSERT INTO profile.minutes AS minutes SELECT '2000-01-01Z', 'route', '', 1, 0, 1, 1, 1, 0, '{1}'::int[], '{1}'::bigint[]
        ON CONFLICT (began_at, kind, name) DO UPDATE SET count = minutes.count + EXCLUDED.count";
    client.batch_execute(minute).await.unwrap();
    for (expected, sql) in [
        (
            3,
            "SELECT sum(count)::bigint FROM profile.gathered WHERE target_us = 100000",
        ),
        (
            1,
            "SELECT sum(count)::bigint FROM profile.totals WHERE target_us = 100000",
        ),
    ] {
        soon(&client, sql, expected).await;
    }
}

/// `profile.totals` gets a row every ten minutes. From the rows that are older than two days, a rollup keeps only the last of each hour.
#[tokio::test]
async fn old_totals_are_reduced_to_one_per_hour() {
    let database = Database::migrated().await;
    let client = database.client().await;
    client
        .batch_execute(
            "INSERT INTO profile.totals
             SELECT date_trunc('hour', now()) - interval '2 days 12 hours' + n * interval '10 minutes', 'route', 'GET /',
                    n, 0, n, n, n, '{1}', ARRAY[n]
             FROM generate_series(1, 24) AS n;
             INSERT INTO profile.totals VALUES (now() - interval '31 days', 'route', 'GET /', 1, 0, 1, 1, 1, '{1}', '{1}');
             INSERT INTO profile.minutes
             SELECT date_trunc('minute', now()) - interval '1 hour', 'route', 'GET /', 1, 0, 1, 1, 1, 1, '{1}', '{1}'",
        )
        .await
        .unwrap();
    client.query(statement("fleet_rollup"), &[]).await.unwrap();
    // The rollup keeps four of the old totals, one for each hour, and adds a new total.
    soon(&client, "SELECT count(*) FROM profile.totals", 5).await;
    let whole_hours =
        "SELECT count(*) FROM profile.totals WHERE ended_at = date_trunc('hour', ended_at)
        AND ended_at < now() - interval '1 day'";
    soon(&client, whole_hours, 4).await;
    soon(&client, "SELECT max(count) FROM profile.totals", 25).await;
}

#[tokio::test]
async fn missing_profile_schema_logs_one_profiler_warning() {
    let database = Database::migrated().await;
    let client = database.client().await;
    client
        .batch_execute("DROP SCHEMA profile CASCADE")
        .await
        .unwrap();
    let edge = Edge::start_with(&database, &[("profiling_flush_ms", "10")], &[]).await;
    for _ in 0..20 {
        assert_eq!(edge.get(ORCHESTRATOR).await.status, StatusCode::OK);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    edge.log_line(&["WARNING - PROFILER: what was gathered can't be stored"])
        .await;
    assert_eq!(edge.log().matches("PROFILER").count(), 1, "{}", edge.log());
}

#[tokio::test]
async fn statements_are_shown_only_to_admins_and_headers_can_be_disabled() {
    let database = Database::migrated().await;
    let token = "a-token-for-this-test";
    let variables = [("admin_token", token)];
    let edge = Edge::start_with(&database, &variables, &[]).await;
    let ask = async |token: &str| {
        let request = http::Request::get(format!("{}{ORCHESTRATOR}", edge.url()))
            .header("x-profile", "1")
            .header("authorization", format!("Bearer {token}"))
            .body(http_body_util::Full::default())
            .unwrap();
        edge.send(request).await.header("server-timing").to_owned()
    };
    assert!(ask(token).await.contains(", agent_get_by_name;dur="));
    assert!(
        !ask("another-token-than-that")
            .await
            .contains("agent_get_by_name")
    );
    assert!(!edge.log().contains(token));

    let variables = [
        ("profiling_headers", "off"),
        ("log_format", "json"),
        ("slow_request_warn_ms", "0"),
    ];
    let edge = Edge::start_with(&database, &variables, &[]).await;
    let answer = edge
        .raw(b"GET /api/health HTTP/1.0\r\nHost: x\r\n\r\n")
        .await
        .to_lowercase();
    assert!(answer.contains("x-request-id: "), "{answer}");
    for hidden in [
        "x-process-time",
        "x-query-count",
        "x-query-time",
        "server-timing",
    ] {
        assert!(!answer.contains(hidden), "{answer}");
    }
    let line = edge.log_line(&["slow_request"]).await;
    let line: serde_json::Value = serde_json::from_str(&line).expect("a line is JSON");
    assert_eq!(line["event"], "slow_request");
    assert_eq!(line["route"], "GET /api/health");
    assert!(line["elapsed_us"].is_u64());
}

/// The host gets SIGTERM right after its last answer. Before it ends, the host must finish running work and store the recorded data.
#[tokio::test]
async fn host_stores_recorded_data_before_it_terminates() {
    let database = Database::migrated().await;
    let mut edge = Edge::start(&database).await;
    for _ in 0..20 {
        assert_eq!(edge.get(ORCHESTRATOR).await.status, StatusCode::OK);
    }
    assert!(edge.terminate().await, "{}", edge.log());
    let sql = "SELECT coalesce(sum(flushed), 0)::bigint FROM profile.flushes";
    let client = database.client().await;
    // Each of the twenty requests records two samples, one for its route and one for its statement.
    soon(&client, sql, 40).await;
}
