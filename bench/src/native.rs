//! Serves the benchmark's routes natively, to show the machine's limit. This server runs the component's SQL statements, and prepares each
//! statement once per connection. It has no input checks, no profiler and no sandbox.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context as _, Result, anyhow};
use axum::Router;
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header::CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use clap::Args;
use deadpool_postgres::{Manager, ManagerConfig, Pool, RecyclingMethod};
use reznet_edge::config::address::Address;
use reznet_edge::queries;
use serde::Deserialize;
use tokio::net::TcpListener;
use tokio_postgres::NoTls;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

/// The settings of the native server.
#[derive(Args, Clone, Debug)]
pub struct Native {
    /// IP address and port to listen on
    #[arg(long, default_value = "127.0.0.1:3110")]
    listen: SocketAddr,
    /// The database, as <postgres://USER:PASSWORD@HOST/DATABASE>
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    database: String,
    /// Maximum number of database connections
    #[arg(long, default_value_t = 16)]
    connections: usize,
}

impl Native {
    /// Serves until the process ends.
    pub async fn serve(&self) -> Result<()> {
        let address: Address = self
            .database
            .parse()
            .map_err(|problem| anyhow!("--database {problem}"))?;
        let config = address.to_url().parse().context("the driver reads it")?;
        let recycling = ManagerConfig {
            recycling_method: RecyclingMethod::Fast,
        };
        let manager = Manager::from_config(config, NoTls, recycling);
        let pool = Pool::builder(manager).max_size(self.connections).build()?;
        let routes = Router::new()
            .route("/api/agents", get(agent_list))
            .route("/api/agents/name/{name}", get(agent_get_by_name))
            .route(
                "/api/channels/{id}/messages",
                get(channel_message_list).post(message_create),
            )
            .route("/api/workflows", get(workflow_list_status))
            .route("/api/workflows/{id}/tasks", get(workflow_task_list))
            .route("/api/health", post(async || "").get(async || ""))
            .with_state(Arc::new(pool));
        axum::serve(TcpListener::bind(self.listen).await?, routes).await?;
        Ok(())
    }
}

#[derive(Deserialize)]
struct Asked {
    limit: Option<i32>,
    status: Option<String>,
}

impl Asked {
    fn limit(&self) -> i32 {
        self.limit.unwrap_or(50)
    }
}

type Database = State<Arc<Pool>>;
type Parameter<'a> = &'a (dyn ToSql + Sync);

/// The cursor of an ascending list's first page: a time before all rows, in microseconds since 1970, and the smallest ID.
const FIRST: (i64, Uuid) = (i64::MIN / 1000, Uuid::nil());
/// The cursor of a descending list's first page: a time after all rows, in microseconds since 1970, and the largest ID.
const LAST: (i64, Uuid) = (253_402_300_799_999_999, Uuid::max());

async fn agent_list(State(pool): Database, Query(asked): Query<Asked>) -> Response {
    let parameters: [Parameter; 4] = [&FIRST.0, &FIRST.1, &asked.limit(), &0_i64];
    answer(&pool, "agent_list", &parameters).await
}

async fn agent_get_by_name(State(pool): Database, Path(name): Path<String>) -> Response {
    let name = if name.starts_with('@') {
        name
    } else {
        format!("@{name}")
    };
    answer(&pool, "agent_get_by_name", &[&name]).await
}

async fn channel_message_list(
    State(pool): Database,
    Path(id): Path<Uuid>,
    Query(asked): Query<Asked>,
) -> Response {
    let parameters: [Parameter; 5] = [&LAST.0, &LAST.1, &asked.limit(), &0_i64, &id];
    answer(&pool, "channel_message_list", &parameters).await
}

async fn workflow_list_status(State(pool): Database, Query(asked): Query<Asked>) -> Response {
    let parameters: [Parameter; 5] = [&LAST.0, &LAST.1, &asked.limit(), &0_i64, &asked.status];
    answer(&pool, "workflow_list_status", &parameters).await
}

async fn workflow_task_list(
    State(pool): Database,
    Path(id): Path<Uuid>,
    Query(asked): Query<Asked>,
) -> Response {
    let parameters: [Parameter; 5] = [&FIRST.0, &FIRST.1, &asked.limit(), &0_i64, &id];
    answer(&pool, "workflow_task_list", &parameters).await
}

async fn message_create(State(pool): Database, Path(id): Path<Uuid>, body: String) -> Response {
    answer(&pool, "message_create", &[&id, &body]).await
}

async fn answer(pool: &Pool, name: &str, parameters: &[Parameter<'_>]) -> Response {
    match json(pool, name, parameters).await {
        Ok(Some(json)) => ([(CONTENT_TYPE, "application/json")], json).into_response(),
        Ok(None) => StatusCode::NOT_FOUND.into_response(),
        Err(error) => {
            eprintln!("{name}: {error:#}");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

async fn json(pool: &Pool, name: &str, parameters: &[Parameter<'_>]) -> Result<Option<String>> {
    let statement = queries::ALL.iter().find(|statement| statement.name == name);
    let sql = statement.context("isn't in the registry")?.sql;
    let client = pool.get().await?;
    let statement = client.prepare_cached(sql).await?;
    let row = client.query_opt(&statement, parameters).await?;
    let json: Option<String> = row.and_then(|row| row.get(0));
    // The statement of a list returns the items of a JSON array without the brackets, so the brackets are added here.
    Ok(json.map(|json| {
        if name.contains("_list") {
            format!("[{json}]")
        } else {
            json
        }
    }))
}
