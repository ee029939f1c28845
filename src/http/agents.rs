//! The routes under /api/agents: their input, their responses, and one query for each.

use super::contract::{Kind, Operation, Parameter, answered, documented};
use super::input::Input;
use super::page::{CURSOR, DEFAULT_LIMIT, LIMIT, OFFSET, list};
use super::problem::ApiError;
use super::reply::{NOT_STORED, Reply, never, written};
use super::schemas;
use crate::db::Db;
use crate::queries::{Order, Page, agents};

const ID: Parameter = Parameter::id("id", "The agent's id.");

fn absent(input: &Input) -> ApiError {
    ApiError::not_found("agent", "id", &input.uuid("id"))
}

pub static AGENT_LIST: Operation = Operation {
    id: "agent_list",
    path: "/api/agents",
    summary: documented("Lists agents, oldest first."),
    parameters: &[
        Parameter {
            name: "active_only",
            kind: Kind::Boolean,
            about: documented("Whether to return only active agents."),
            default: Some("true"),
        },
        Parameter {
            name: "agent_type",
            kind: schemas::AGENT_TYPE,
            about: documented("Only agents of this type are returned."),
            default: None,
        },
        LIMIT,
        OFFSET,
        CURSOR,
    ],
    answer: answered(Kind::page(&Kind::Record(&schemas::AGENT))),
    ..Operation::GET
};

pub async fn agent_list(db: Db, input: Input) -> Result<Reply, ApiError> {
    let page = Page::of(&input, Order::Oldest, DEFAULT_LIMIT);
    let active_only = input.boolean("active_only").unwrap_or(true);
    let items = agents::agent_list(&db, page, active_only, input.text("agent_type")).await?;
    list(items, &input, ApiError::NoRoute)
}

pub static AGENT_CREATE: Operation = Operation {
    id: "agent_create",
    path: "/api/agents",
    summary: documented("Creates an agent."),
    body: Some(&schemas::AGENT_CREATE),
    answer: answered(Kind::Record(&schemas::AGENT)),
    errors: &[409],
    ..Operation::CREATE
};

pub async fn agent_create(db: Db, mut input: Input) -> Result<Reply, ApiError> {
    let body = input.take_body();
    let outcome = agents::agent_create(&db, body).await?;
    Reply::created("/api/agents", written(outcome, NOT_STORED, never)?)
}

pub static AGENT_GET: Operation = Operation {
    id: "agent_get",
    path: "/api/agents/{id}",
    summary: documented("Returns an agent."),
    parameters: &[ID],
    answer: answered(Kind::Record(&schemas::AGENT)),
    errors: &[404],
    ..Operation::GET
};

pub async fn agent_get(db: Db, input: Input) -> Result<Reply, ApiError> {
    let agent = agents::agent_get(&db, input.uuid("id")).await?;
    Ok(Reply::row(agent.ok_or_else(|| absent(&input))?))
}

pub static AGENT_GET_BY_NAME: Operation = Operation {
    id: "agent_get_by_name",
    path: "/api/agents/name/{name}",
    summary: documented("Returns the agent with the given name."),
    parameters: &[Parameter {
        name: "name",
        kind: Kind::Text { min: 1, max: 100 },
        about: documented("The agent's name, with or without the leading @."),
        default: None,
    }],
    answer: answered(Kind::Record(&schemas::AGENT)),
    errors: &[404],
    ..Operation::GET
};

pub async fn agent_get_by_name(db: Db, input: Input) -> Result<Reply, ApiError> {
    let name = input.text("name").unwrap_or_default();
    let name = format!("@{}", name.strip_prefix('@').unwrap_or(name));
    let agent = agents::agent_get_by_name(&db, &name).await?;
    let agent = agent.ok_or_else(|| ApiError::not_found("agent", "name", &name))?;
    Ok(Reply::row(agent))
}

pub static AGENT_UPDATE: Operation = Operation {
    id: "agent_update",
    path: "/api/agents/{id}",
    summary: documented("Updates the given fields of an agent."),
    parameters: &[ID],
    body: Some(&schemas::AGENT_UPDATE),
    answer: answered(Kind::Record(&schemas::AGENT)),
    errors: &[404, 409, 412],
    ..Operation::PATCH
};

pub async fn agent_update(db: Db, mut input: Input) -> Result<Reply, ApiError> {
    let body = input.take_body();
    let outcome = agents::agent_update(&db, input.uuid("id"), body, &input.if_match).await?;
    Ok(Reply::row(written(outcome, absent(&input), never)?))
}

pub static AGENT_ACTIVATE: Operation = Operation {
    id: "agent_activate",
    path: "/api/agents/{id}/activate",
    summary: documented("Activates an agent."),
    parameters: &[ID],
    answer: answered(Kind::Record(&schemas::AGENT_ACTION)),
    errors: &[404, 412],
    ..Operation::PATCH
};

pub async fn agent_activate(db: Db, input: Input) -> Result<Reply, ApiError> {
    set_active(db, input, true).await
}

pub static AGENT_DEACTIVATE: Operation = Operation {
    id: "agent_deactivate",
    path: "/api/agents/{id}/deactivate",
    summary: documented("Deactivates an agent."),
    parameters: &[ID],
    answer: answered(Kind::Record(&schemas::AGENT_ACTION)),
    errors: &[404, 412],
    ..Operation::PATCH
};

pub async fn agent_deactivate(db: Db, input: Input) -> Result<Reply, ApiError> {
    set_active(db, input, false).await
}

async fn set_active(db: Db, input: Input, is_active: bool) -> Result<Reply, ApiError> {
    let outcome =
        agents::agent_set_active(&db, input.uuid("id"), is_active, &input.if_match).await?;
    Ok(Reply::row(written(outcome, absent(&input), never)?))
}

pub static AGENT_STATUS: Operation = Operation {
    id: "agent_status",
    path: "/api/agents/{id}/status",
    summary: documented("Returns whether an agent is online, and whether it is busy."),
    parameters: &[ID],
    answer: answered(Kind::Record(&schemas::AGENT_STATUS)),
    errors: &[404],
    ..Operation::GET
};

pub async fn agent_status(db: Db, input: Input) -> Result<Reply, ApiError> {
    let status = agents::agent_status(&db, input.uuid("id")).await?;
    Ok(Reply::ok(status.ok_or_else(|| absent(&input))?))
}

pub static AGENT_MESSAGE_LIST: Operation = Operation {
    id: "agent_message_list",
    path: "/api/agents/{id}/messages",
    summary: documented("Lists an agent's messages, newest first."),
    parameters: &[ID, LIMIT, OFFSET, CURSOR],
    answer: answered(Kind::page(&Kind::Record(&schemas::CHANNEL_MESSAGE))),
    errors: &[404],
    ..Operation::GET
};

pub async fn agent_message_list(db: Db, input: Input) -> Result<Reply, ApiError> {
    let page = Page::of(&input, Order::Newest, DEFAULT_LIMIT);
    let items = agents::agent_message_list(&db, page, input.uuid("id")).await?;
    list(items, &input, absent(&input))
}

pub static AGENT_DM_CHANNEL: Operation = Operation {
    id: "agent_dm_channel",
    path: "/api/agents/{id}/dm-channel",
    summary: documented(
        "Returns an agent's direct-message channel; creates it if it does not exist, and reopens it if it is archived.",
    ),
    parameters: &[ID],
    answer: answered(Kind::Record(&schemas::CHANNEL)),
    errors: &[404],
    is_safe: false,
    ..Operation::GET
};

pub async fn agent_dm_channel(db: Db, input: Input) -> Result<Reply, ApiError> {
    let channel = agents::agent_dm_channel(&db, input.uuid("id")).await?;
    Ok(Reply::row(channel.ok_or_else(|| absent(&input))?))
}
