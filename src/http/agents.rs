//! The routes below /api/agents: parameters in, one query, JSON out.

use super::JsonText;
use super::input::Input;
use super::problem::ApiError;
use crate::db::Db;
use crate::queries::agents;

/// The longest name of an agent, its @ included, in characters; the table's CHECK says the same.
const NAME_MAX_CHARS: usize = 100;
const AGENT_TYPE_MAX_CHARS: usize = 50;

/// GET /api/agents
pub async fn agent_list(db: Db, mut input: Input) -> Result<JsonText, ApiError> {
    let active_only = input.query_bool("active_only", true);
    let agent_type = input.query_text("agent_type", AGENT_TYPE_MAX_CHARS);
    input.check()?;
    Ok(JsonText(
        agents::agent_list(&db, active_only, agent_type).await?,
    ))
}

/// GET /api/agents/{id}
pub async fn agent_get(db: Db, mut input: Input) -> Result<JsonText, ApiError> {
    let id = input.path_uuid("id");
    input.check()?;
    match agents::agent_get(&db, id).await? {
        Some(agent) => Ok(JsonText(agent)),
        None => Err(ApiError::NotFound {
            what: "agent",
            by: "id",
            value: id.to_string(),
        }),
    }
}

/// GET /api/agents/name/{name}, with or without the leading @
pub async fn agent_get_by_name(db: Db, mut input: Input) -> Result<JsonText, ApiError> {
    let name = input.path_text("name", NAME_MAX_CHARS);
    input.check()?;
    let name = format!("@{}", name.strip_prefix('@').unwrap_or(&name));
    match agents::agent_get_by_name(&db, name.clone()).await? {
        Some(agent) => Ok(JsonText(agent)),
        None => Err(ApiError::NotFound {
            what: "agent",
            by: "name",
            value: name,
        }),
    }
}
