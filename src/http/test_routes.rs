//! Routes for the profiler's tests, which do things that product handlers must not do. Only builds with the feature
//! `test-routes` contain them; the shipped component has none.

use axum::Router;
use uuid::Uuid;

use super::contract::{Kind, Operation, Parameter, answered, documented};
use super::input::Input;
use super::problem::ApiError;
use super::reply::Reply;
use super::routes::{Shared, serve};
use crate::db::Db;
use crate::queries::agents;

/// Reads agents with one statement each, although one statement would suffice.
static AGENT_LOOP: Operation = Operation {
    id: "agent_loop",
    path: "/test/agent-loop",
    summary: documented("Reads agents one by one (N+1 queries)."),
    parameters: &[Parameter {
        name: "times",
        kind: Kind::Integer { min: 0, max: 1000 },
        about: documented("Number of agents to read."),
        default: Some("0"),
    }],
    answer: answered(Kind::Object),
    ..Operation::GET
};

async fn agent_loop(db: Db, input: Input) -> Result<Reply, ApiError> {
    for _ in 0..input.integer("times").unwrap_or_default() {
        agents::agent_get(&db, Uuid::new_v4()).await?;
    }
    Ok(Reply::ok("{}"))
}

/// Aborts its instance, as a bug that clippy misses would.
static TRAP: Operation = Operation {
    id: "trap",
    path: "/test/trap",
    summary: documented("Aborts the instance."),
    answer: answered(Kind::Object),
    ..Operation::GET
};

async fn trap(_: Db, _: Input) -> Result<Reply, ApiError> {
    std::process::abort()
}

/// Returns `router` with these routes added.
pub fn added_to(router: Router<Shared>) -> Router<Shared> {
    let agent_loop = serve(&AGENT_LOOP, |db, input| Box::pin(agent_loop(db, input)));
    let trap = serve(&TRAP, |db, input| Box::pin(trap(db, input)));
    router
        .route(AGENT_LOOP.path, agent_loop)
        .route(TRAP.path, trap)
}
