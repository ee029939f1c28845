//! Routes for the profiler's tests, which break the rules for product handlers. Only builds with the feature `test-routes` contain them; the
//! shipped component has none.

use axum::Router;
use uuid::Uuid;

use super::contract::Operation;
use super::input::Input;
use super::parameters::{Parameters as _, parameters};
use super::problem::ApiError;
use super::reply::Reply;
use super::serve::{Shared, serve};
use crate::db::Db;
use crate::queries::agents;
use crate::schema::{FieldType, Parameter};

parameters! {
    AgentLoopParameters {
        times: i64 = Parameter {
            default: Some("0"),
            ..Parameter::new(FieldType::Integer { min: 0, max: 1000 }, "Number of agents to read.")
        },
    }
}

/// Reads agents with one statement each, although one statement would suffice.
static AGENT_LOOP: Operation = Operation {
    id: "agent_loop",
    path: "/test/agent-loop",
    summary: "Reads agents one by one (N+1 queries).",
    parameters: AgentLoopParameters::TABLE,
    answer: FieldType::Object,
    ..Operation::GET
};

async fn agent_loop(db: Db, input: Input<AgentLoopParameters>) -> Result<Reply, ApiError> {
    for _ in 0..input.parameters.times {
        agents::agent_get(&db, Uuid::new_v4()).await?;
    }
    Ok(Reply::ok("{}"))
}

/// Aborts the instance, like a bug that clippy doesn't find.
static TRAP: Operation = Operation {
    id: "trap",
    path: "/test/trap",
    summary: "Aborts the instance.",
    answer: FieldType::Object,
    ..Operation::GET
};

/// Returns `router` with these routes added.
pub fn added_to(router: Router<Shared>) -> Router<Shared> {
    let agent_loop = serve(&AGENT_LOOP, |db, input| {
        Box::pin(async move { agent_loop(db, input.typed()?).await })
    });
    let trap = serve(&TRAP, |_, _| Box::pin(async { std::process::abort() }));
    router
        .route(AGENT_LOOP.path, agent_loop)
        .route(TRAP.path, trap)
}
