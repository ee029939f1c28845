//! The routes under /api/agents: their input, their responses, and one query for each route.

use uuid::Uuid;

use super::contract::Operation;
use super::input::Input;
use super::page::list;
use super::parameters::{Parameters as _, parameters};
use super::problem::ApiError;
use super::reply::{NOT_STORED, Reply, never, written};
use crate::db::Db;
use crate::queries::{Order, agents};
use crate::schema;
use crate::schema::{FieldType, Parameter};

const ID: Parameter = Parameter::new(FieldType::Uuid, "The agent's id.");

parameters! {
    AgentId {
        id: Uuid = ID,
    }
}

fn absent(id: Uuid) -> ApiError {
    ApiError::not_found("agent", "id", &id)
}

parameters! {
    AgentListParameters {
    ..list(schema::agents::AGENT_LIST, "50")
    }
}

pub static AGENT_LIST: Operation = Operation {
    id: "agent_list",
    path: "/api/agents",
    summary: "Lists agents, oldest first.",
    parameters: AgentListParameters::TABLE,
    answer: FieldType::page(&FieldType::Record(&schema::agents::AGENT)),
    ..Operation::GET
};

pub async fn agent_list(db: Db, input: Input<AgentListParameters>) -> Result<Reply, ApiError> {
    let page = input.page(Order::Oldest);
    let items = agents::agent_list(&db, page).await?;
    list(items, &input.uri, ApiError::NoRoute)
}

pub static AGENT_CREATE: Operation = Operation {
    id: "agent_create",
    path: "/api/agents",
    summary: "Creates an agent.",
    body: Some(&schema::agents::AGENT_CREATE),
    answer: FieldType::Record(&schema::agents::AGENT),
    errors: &[409],
    ..Operation::CREATE
};

pub async fn agent_create(db: Db, input: Input) -> Result<Reply, ApiError> {
    let outcome = agents::agent_create(&db, input.body).await?;
    Ok(Reply::created(
        "/api/agents",
        written(outcome, NOT_STORED, never)?,
    ))
}

pub static AGENT_GET: Operation = Operation {
    id: "agent_get",
    path: "/api/agents/{id}",
    summary: "Returns an agent.",
    parameters: AgentId::TABLE,
    answer: FieldType::Record(&schema::agents::AGENT),
    errors: &[404],
    ..Operation::GET
};

pub async fn agent_get(db: Db, input: Input<AgentId>) -> Result<Reply, ApiError> {
    let AgentId { id } = input.parameters;
    let agent = agents::agent_get(&db, id).await?;
    Ok(Reply::row(agent.ok_or_else(|| absent(id))?))
}

parameters! {
    AgentName {
        name: String = Parameter::new(
            FieldType::Text { min: 1, max: 100 },
            "The agent's name, with or without the leading @.",
        ),
    }
}

pub static AGENT_GET_BY_NAME: Operation = Operation {
    id: "agent_get_by_name",
    path: "/api/agents/name/{name}",
    summary: "Returns the agent with the given name.",
    parameters: AgentName::TABLE,
    answer: FieldType::Record(&schema::agents::AGENT),
    errors: &[404],
    ..Operation::GET
};

pub async fn agent_get_by_name(db: Db, input: Input<AgentName>) -> Result<Reply, ApiError> {
    let AgentName { name } = input.parameters;
    let name = format!("@{}", name.strip_prefix('@').unwrap_or(&name));
    let agent = agents::agent_get_by_name(&db, &name).await?;
    let agent = agent.ok_or_else(|| ApiError::not_found("agent", "name", &name))?;
    Ok(Reply::row(agent))
}

pub static AGENT_UPDATE: Operation = Operation {
    id: "agent_update",
    path: "/api/agents/{id}",
    summary: "Updates the given fields of an agent.",
    parameters: AgentId::TABLE,
    body: Some(&schema::agents::AGENT_UPDATE),
    answer: FieldType::Record(&schema::agents::AGENT),
    errors: &[404, 409, 412],
    ..Operation::PATCH
};

pub async fn agent_update(db: Db, input: Input<AgentId>) -> Result<Reply, ApiError> {
    let AgentId { id } = input.parameters;
    let outcome = agents::agent_update(&db, id, input.body, &input.if_match).await?;
    Ok(Reply::row(written(outcome, absent(id), never)?))
}

pub static AGENT_ACTIVATE: Operation = Operation {
    id: "agent_activate",
    path: "/api/agents/{id}/activate",
    summary: "Activates an agent.",
    parameters: AgentId::TABLE,
    answer: FieldType::Record(&schema::agents::AGENT_ACTION),
    errors: &[404, 412],
    ..Operation::PATCH
};

pub async fn agent_activate(db: Db, input: Input<AgentId>) -> Result<Reply, ApiError> {
    set_active(db, input, true).await
}

pub static AGENT_DEACTIVATE: Operation = Operation {
    id: "agent_deactivate",
    path: "/api/agents/{id}/deactivate",
    summary: "Deactivates an agent.",
    parameters: AgentId::TABLE,
    answer: FieldType::Record(&schema::agents::AGENT_ACTION),
    errors: &[404, 412],
    ..Operation::PATCH
};

pub async fn agent_deactivate(db: Db, input: Input<AgentId>) -> Result<Reply, ApiError> {
    set_active(db, input, false).await
}

async fn set_active(db: Db, input: Input<AgentId>, is_active: bool) -> Result<Reply, ApiError> {
    let AgentId { id } = input.parameters;
    let outcome = agents::agent_set_active(&db, id, is_active, &input.if_match).await?;
    Ok(Reply::row(written(outcome, absent(id), never)?))
}

pub static AGENT_STATUS: Operation = Operation {
    id: "agent_status",
    path: "/api/agents/{id}/status",
    summary: "Returns whether an agent is online, and whether it is busy.",
    parameters: AgentId::TABLE,
    answer: FieldType::Record(&schema::agents::AGENT_STATUS),
    errors: &[404],
    ..Operation::GET
};

pub async fn agent_status(db: Db, input: Input<AgentId>) -> Result<Reply, ApiError> {
    let AgentId { id } = input.parameters;
    let status = agents::agent_status(&db, id).await?;
    Ok(Reply::ok(status.ok_or_else(|| absent(id))?))
}

parameters! {
    AgentMessageListParameters {
        id: Uuid = ID,
        ..list(schema::messages::AGENT_MESSAGE_LIST, "50")
    }
}

pub static AGENT_MESSAGE_LIST: Operation = Operation {
    id: "agent_message_list",
    path: "/api/agents/{id}/messages",
    summary: "Lists an agent's messages, newest first.",
    parameters: AgentMessageListParameters::TABLE,
    answer: FieldType::page(&FieldType::Record(&schema::messages::CHANNEL_MESSAGE)),
    errors: &[404],
    ..Operation::GET
};

pub async fn agent_message_list(
    db: Db,
    input: Input<AgentMessageListParameters>,
) -> Result<Reply, ApiError> {
    let page = input.page(Order::Newest);
    let id = input.parameters.id;
    let items = agents::agent_message_list(&db, page, id).await?;
    list(items, &input.uri, absent(id))
}

pub static AGENT_DM_CHANNEL: Operation = Operation {
    id: "agent_dm_channel",
    path: "/api/agents/{id}/dm-channel",
    summary: "Returns an agent's direct-message channel; creates it if it does not exist, and reopens it if it is archived.",
    parameters: AgentId::TABLE,
    answer: FieldType::Record(&schema::channels::CHANNEL),
    errors: &[404],
    is_safe: false,
    ..Operation::GET
};

pub async fn agent_dm_channel(db: Db, input: Input<AgentId>) -> Result<Reply, ApiError> {
    let AgentId { id } = input.parameters;
    let channel = agents::agent_dm_channel(&db, id).await?;
    Ok(Reply::row(channel.ok_or_else(|| absent(id))?))
}
