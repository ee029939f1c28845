//! Compares the response header `X-Query-Time` with the times in `pg_stat_statements`, for every statement that a request can run.

use std::collections::BTreeMap;

use http::Method;
use reznet_edge::schema::Filter;
use serde_json::{Value, json};
use support::{Cluster, Database, Edge, database_variables, list_paths};
use tokio_postgres::Client;

/// The number of requests for each statement.
const TIMES: usize = 20;

/// The largest permitted network time of a statement, as a multiple of the median of all statements. Each 4 KiB of SQL text permit the
/// same amount again. The network time is the part of `X-Query-Time` that PostgreSQL doesn't count, namely the round trip and the time to
/// transfer the SQL text.
const MOST_SHARES: f64 = 4.0;

/// The times of a statement's runs, measured by the API and by PostgreSQL.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_field_names, reason = "units are in names")]
struct Runs {
    header_mean_ms: f64,
    /// The median is less affected by other load on the machine than the mean.
    header_median_ms: f64,
    postgresql_mean_ms: f64,
}

/// The times of one run.
#[derive(Clone, Copy, Debug)]
struct Sample {
    header_ms: f64,
    postgresql_ms: f64,
}

impl Runs {
    fn of(samples: &[Sample]) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "twenty")]
        let times = samples.len() as f64;
        let mut header_ms: Vec<_> = samples.iter().map(|sample| sample.header_ms).collect();
        header_ms.sort_unstable_by(f64::total_cmp);
        Self {
            header_mean_ms: header_ms.iter().sum::<f64>() / times,
            header_median_ms: header_ms[samples.len() / 2],
            postgresql_mean_ms: samples
                .iter()
                .map(|sample| sample.postgresql_ms)
                .sum::<f64>()
                / times,
        }
    }

    fn network_ms(self) -> f64 {
        self.header_median_ms - self.postgresql_mean_ms
    }
}

#[tokio::test]
async fn query_time_header_agrees_with_postgresql_statistics() {
    let cluster = Cluster::start();
    support::migrate(&cluster.url()).unwrap();
    let client = cluster.client().await;
    let url = cluster.app_url();
    let variables = [&database_variables(&url)[..], &[("profiling", "off")]].concat();
    let edge = Edge::start_at(&variables, &[]).await;

    let rows = Rows::create(&edge).await;
    let all_requests = [rows.reads(), rows.writes()].concat();
    let mut all_samples: BTreeMap<&str, Vec<Sample>> = BTreeMap::new();
    // Sends one request for each statement in turn, so that other load on the machine affects all statements alike.
    for n in 0..TIMES {
        for (statement, requests) in &all_requests {
            assert_eq!(requests.len(), TIMES, "{statement}");
            let sample = run(&edge, &client, statement, &requests[n]).await;
            all_samples.entry(statement).or_default().push(sample);
        }
    }
    let all_runs: BTreeMap<_, _> = all_samples
        .into_iter()
        .map(|(statement, samples)| (statement, Runs::of(&samples)))
        .collect();
    let mut network: Vec<_> = all_runs.values().map(|runs| runs.network_ms()).collect();
    network.sort_unstable_by(f64::total_cmp);
    let usual_ms = network[network.len() / 2];
    println!("the network's usual share: {usual_ms:.3} ms");
    for (statement, runs) in &all_runs {
        println!("{statement:30} {runs:.3?}");
        let longer = runs.header_mean_ms > runs.postgresql_mean_ms;
        assert!(longer, "{statement}: {runs:?}");
        let agrees = runs.network_ms() < MOST_SHARES * usual_ms * (1.0 + text_kib(statement) / 4.0);
        assert!(agrees, "{statement}: {runs:?}, usually {usual_ms} ms");
    }
    let all = reznet_edge::queries::ALL.iter();
    let unseen: Vec<_> = all
        .map(|statement| statement.name)
        .filter(|name| !all_runs.contains_key(name))
        .collect();
    // These statements can't be measured one by one. The profiler's statements don't run for a request. `write_once` is counted under the
    // name of the write that it runs. The report's statements run together. WAL positions are queried only if there is a replica.
    let not_alone = [
        "fleet_compact",
        "fleet_flush",
        "fleet_index_scans",
        "fleet_rollup",
        "slow_query_keep",
        "write_once",
        "performance_metrics_connections",
        "performance_metrics_histograms",
        "performance_metrics_samples",
        "performance_cache_hits",
        "performance_connections",
        "performance_index_builds",
        "performance_index_usage",
        "performance_indexes",
        "performance_settings",
        "performance_table_sizes",
        "performance_tables",
        "performance_top_statements",
        "performance_fleet",
        "performance_index_scans",
        "performance_measured",
        "performance_profiler",
        "performance_slow_queries",
        "replica_state",
        "write_position",
    ];
    assert_eq!(unseen, not_alone);
}

/// Returns the length of a statement's SQL text in KiB. The performance report runs three statements, so their lengths are added.
fn text_kib(name: &str) -> f64 {
    let all = reznet_edge::queries::ALL.iter();
    let bytes: usize = all
        .filter(|statement| match name {
            "performance_database" => [
                "performance_database",
                "performance_top_statements",
                "performance_fleet",
            ]
            .contains(&statement.name),
            _ => statement.name == name,
        })
        .map(|statement| statement.sql.len())
        .sum();
    assert!(bytes > 0, "{name}");
    #[expect(clippy::cast_precision_loss, reason = "some thousands")]
    let kib = bytes as f64 / 1024.0;
    kib
}

type Request = (Method, String, Value);

/// Sends a request that runs one statement, or three for the report. Returns the durations that the API and PostgreSQL measured.
async fn run(
    edge: &Edge,
    client: &Client,
    statement: &str,
    (method, path, body): &Request,
) -> Sample {
    let before = account(client).await;
    let answer = if statement.ends_with("_tag") {
        let held = [("if-none-match", "*")];
        edge.request_with(method.clone(), path, &held).await
    } else if body.is_null() {
        edge.request(method.clone(), path).await
    } else {
        edge.send_json(method.clone(), path, body).await
    };
    assert!(!answer.status.is_server_error(), "{statement}: {answer:?}");
    let after = account(client).await;
    // If the server has pg_stat_statements, as here, the performance report runs three statements.
    let expected = if statement == "performance_database" {
        3
    } else {
        1
    };
    let counts = (after.0 - before.0, i64::from(answer.query_count()));
    assert_eq!(counts, (expected, expected), "{statement}");
    Sample {
        header_ms: answer.query_ms(),
        postgresql_ms: after.1 - before.1,
    }
}

/// Returns the number of statements that the component has run so far, and PostgreSQL's time for planning and executing them in
/// milliseconds. Excludes the statements that reset a pooled connection, because the API counts their time as waiting for a connection.
async fn account(client: &Client) -> (i64, f64) {
    let row = client
        .query_one(
            "SELECT coalesce(sum(calls), 0)::bigint, coalesce(sum(total_exec_time + total_plan_time), 0)
             FROM pg_stat_statements WHERE userid = 'reznet_api'::regrole
               AND query !~ '^(CLOSE|SET|RESET|UNLISTEN|DISCARD|SELECT pg_advisory_unlock_all)'",
            &[],
        )
        .await
        .unwrap();
    (row.get(0), row.get(1))
}

/// The rows for the requests.
struct Rows {
    agents: Vec<String>,
    channels: Vec<String>,
    message: String,
    tasks: Vec<String>,
    /// Workflows that will be started and cancelled.
    workflows: Vec<String>,
    /// Workflows that will be deleted; the first gets additional tasks.
    pending: Vec<String>,
    workflow_task: String,
    /// Workflows with ready tasks.
    started: Vec<String>,
}

fn a_workflow() -> Value {
    json!({"description": "w", "tasks": [{"description": "a"}, {"description": "b"}]})
}

impl Rows {
    async fn create(edge: &Edge) -> Self {
        let one = async |path: &str, body: Value| {
            let answer = edge.post(path, &body).await;
            let id = answer.json()["id"].as_str().map(str::to_owned);
            id.unwrap_or_else(|| panic!("{path}: {answer:?}"))
        };
        let several = async |path: &str, body: Value| {
            let mut ids = Vec::new();
            for n in 0..TIMES {
                let mut body = body.clone();
                if body.get("name").is_some() {
                    body["name"] = format!("prepared-{n}").into();
                }
                ids.push(one(path, body).await);
            }
            ids
        };
        let channels = several("/api/channels", json!({"name": ""})).await;
        let messages = format!("/api/channels/{}/messages", channels[0]);
        let in_channel = json!({"description": "w", "channel_id": channels[0]});
        one("/api/workflows", in_channel).await;
        let pending = several("/api/workflows", a_workflow()).await;
        let workflow_tasks = format!("/api/workflows/{}/tasks", pending[0]);
        let started = several("/api/workflows", a_workflow()).await;
        for id in &started {
            let path = format!("/api/workflows/{id}/start");
            edge.request(Method::POST, &path).await;
        }
        Self {
            agents: several("/api/agents", json!({"name": "", "agent_type": "writer"})).await,
            message: one(&messages, json!({"content": "hello"})).await,
            channels,
            tasks: several("/api/tasks", json!({"description": "t"})).await,
            workflows: several("/api/workflows", a_workflow()).await,
            workflow_task: one(&workflow_tasks, json!({"description": "t"})).await,
            pending,
            started,
        }
    }

    /// Returns, for each statement that reads, requests that run only this statement.
    fn reads(&self) -> Vec<(&'static str, Vec<Request>)> {
        let agent = format!("/api/agents/{}", self.agents[0]);
        let channel = format!("/api/channels/{}", self.channels[0]);
        let workflow = format!("/api/workflows/{}", self.pending[0]);
        let fixed = [
            ("agent_get_by_name", "/api/agents/name/orchestrator"),
            ("performance_cache", "/api/performance/cache"),
            ("performance_database", "/api/performance/database"),
            ("performance_metrics", "/api/performance/metrics"),
            ("readiness", "/api/health/ready"),
            ("stats", "/api/stats"),
        ];
        let of_rows = [
            ("agent_get", agent.clone()),
            ("agent_status", format!("{agent}/status")),
            ("agent_dm_channel", format!("{agent}/dm-channel")),
            ("channel_get", channel.clone()),
            ("message_get", format!("/api/messages/{}", self.message)),
            ("task_get", format!("/api/tasks/{}", self.tasks[0])),
            ("workflow_get", workflow.clone()),
            (
                "workflow_task_get",
                format!("{workflow}/tasks/{}", self.workflow_task),
            ),
        ];
        let fixed = fixed.map(|(statement, path)| (statement, path.to_owned()));
        let parent = |table: &str| match table {
            "agents" => self.agents[0].clone(),
            "channels" => self.channels[0].clone(),
            _ => self.pending[0].clone(),
        };
        let value = |_: &str, filter: &Filter| match filter.column {
            "agent_type" => "writer".to_owned(),
            "channel_id" => self.channels[0].clone(),
            "status" => "pending".to_owned(),
            _ => self.agents[0].clone(),
        };
        let mut all = list_paths(parent, value);
        all.extend(fixed.into_iter().chain(of_rows));
        // A request for a page with If-None-Match queries the page's ETag.
        let tags = reznet_edge::queries::ALL.iter().filter_map(|statement| {
            let page = statement.name.strip_suffix("_tag")?;
            Some((statement.name, all[page].clone()))
        });
        let all = tags.collect::<Vec<_>>().into_iter().chain(all.clone());
        all.map(|(statement, path)| (statement, vec![(Method::GET, path, Value::Null); TIMES]))
            .collect()
    }

    /// Returns, for each statement that writes, requests that run only this statement. The order matters, because some requests archive rows
    /// that earlier requests use.
    fn writes(&self) -> Vec<(&'static str, Vec<Request>)> {
        let agents = |n: usize| format!("/api/agents/{}", self.agents[n]);
        let channels = |n: usize| format!("/api/channels/{}", self.channels[n]);
        let messages = format!("{}/messages", channels(0));
        let workflows = |n: usize| format!("/api/workflows/{}", self.workflows[n]);
        let workflow_tasks = format!("/api/workflows/{}/tasks", self.pending[0]);
        let claim = || "/api/workflow-tasks/claim".to_owned();
        let agent = |n: usize| json!({"name": format!("new-{n}"), "agent_type": "writer"});
        let mut all = Vec::new();
        let mut add = |statement, method, request: &dyn Fn(usize) -> (String, Value)| {
            let one = |n| {
                let (path, body) = request(n);
                (Method::clone(method), path, body)
            };
            all.push((statement, (0..TIMES).map(one).collect()));
        };
        let (create, change) = (&Method::POST, &Method::PATCH);
        add("agent_create", create, &|n| {
            ("/api/agents".into(), agent(n))
        });
        add("agent_update", change, &|n| {
            (agents(n), json!({"config": {"n": n}}))
        });
        add("agent_set_active", change, &|n| {
            (agents(n) + "/deactivate", Value::Null)
        });
        add("channel_create", create, &|n| {
            ("/api/channels".into(), json!({"name": format!("new-{n}")}))
        });
        add("channel_update", change, &|n| {
            (channels(n), json!({"topic": "t"}))
        });
        add("channel_clear", create, &|n| {
            (channels(n) + "/clear", Value::Null)
        });
        add("message_create", create, &|_| {
            (messages.clone(), json!({"content": "hello"}))
        });
        // The message's content is empty, which is a validation error. So the component only checks the references and inserts no message.
        add("reference_check", create, &|_| {
            (
                messages.clone(),
                json!({"content": "", "thread_id": self.message}),
            )
        });
        add("task_create", create, &|_| {
            ("/api/tasks".into(), json!({"description": "t"}))
        });
        add("task_update", change, &|n| {
            (
                format!("/api/tasks/{}", self.tasks[n]),
                json!({"status": "in_progress"}),
            )
        });
        add("workflow_create", create, &|_| {
            ("/api/workflows".into(), a_workflow())
        });
        add("workflow_start", create, &|n| {
            (workflows(n) + "/start", Value::Null)
        });
        add("workflow_cancel", create, &|n| {
            (workflows(n) + "/cancel", Value::Null)
        });
        add("workflow_task_create", create, &|_| {
            (workflow_tasks.clone(), json!({"description": "t"}))
        });
        add("workflow_task_update", change, &|_| {
            let path = format!("{workflow_tasks}/{}", self.workflow_task);
            (path, json!({"output": "u"}))
        });
        add("workflow_task_claim", create, &|n| {
            (claim(), json!({"agent_id": self.agents[n]}))
        });
        add("workflow_task_claim_workflow", create, &|n| {
            (
                claim(),
                json!({"agent_id": self.agents[n], "workflow_id": self.started[n]}),
            )
        });
        add("workflow_delete", &Method::DELETE, &|n| {
            (format!("/api/workflows/{}", self.pending[n]), Value::Null)
        });
        add("channel_archive", &Method::DELETE, &|n| {
            (channels(n), Value::Null)
        });
        all
    }
}

/// A row security policy makes the read of one agent take 0.3 s. The response header, the log, the percentiles and the table of slow
/// queries must all show this slow statement.
#[tokio::test]
async fn slow_statement_appears_in_header_log_percentiles_and_slow_queries() {
    let database = Database::migrated().await;
    let client = database.client().await;
    // The policy applies to the component, because its role isn't the table's owner.
    client
        .batch_execute(
            "ALTER TABLE agents ENABLE ROW LEVEL SECURITY;
             CREATE POLICY sleeps ON agents
                 USING (name <> '@orchestrator' OR pg_sleep(0.3) IS NOT NULL)",
        )
        .await
        .unwrap();
    let variables = [("slow_query_error_ms", "200")];
    let edge = Edge::start_with(&database, &variables, &[]).await;
    let answer = edge.get("/api/agents/name/orchestrator").await;
    let header_ms = answer.query_ms();
    // The policy sleeps 300 ms, so the header can't be below 300 ms. The header may exceed 300 ms only by the time of the network.
    assert!((300.0..390.0).contains(&header_ms), "{answer:?}");
    let id = answer.header("x-request-id");
    let line = edge.log_line(&["ERROR - SLOW QUERY (", id]).await;
    assert!(
        line.contains(&format!("({header_ms:.2}ms): agent_get_by_name: ")),
        "{line}"
    );

    let percentile = "SELECT round(2 * power(101.0 / 99, bins[1]) / (101.0 / 99 + 1))::bigint
        FROM profile.gathered WHERE name = 'agent_get_by_name'";
    super::soon(
        &client,
        &format!("SELECT count(*) FROM ({percentile}) AS of"),
        1,
    )
    .await;
    let p50_us: i64 = client.query_one(percentile, &[]).await.unwrap().get(0);
    #[expect(clippy::cast_precision_loss, reason = "microseconds of a second")]
    let ratio = p50_us as f64 / 1000.0 / header_ms;
    assert!((0.99..1.01).contains(&ratio), "{p50_us} µs, {header_ms} ms");

    let kept = format!(
        "SELECT count(*) FROM profile.slow_queries WHERE statement = 'agent_get_by_name'
         AND elapsed_us > 300000 AND request_id = '{id}' AND plan::text LIKE '%pg_sleep%'"
    );
    super::soon(&client, &kept, 1).await;
}
