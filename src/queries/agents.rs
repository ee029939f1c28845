//! Statements on the table `agents`. Knows nothing of requests; gives JSON text.

use uuid::Uuid;

use crate::db::{Access, Db, DbError, Parameter, Statement};

/// The members of an agent, in the order the API shows them.
macro_rules! agent_columns {
    () => {
        "id, name, agent_type, persona, config, is_active, is_busy, created_at, updated_at"
    };
}

macro_rules! agent_list {
    ($condition:literal) => {
        concat!(
            "SELECT coalesce(json_agg(agent), '[]')::text FROM (SELECT ",
            agent_columns!(),
            " FROM agents WHERE ",
            $condition,
            " ORDER BY created_at, id LIMIT 200) AS agent"
        )
    };
}

pub(super) static AGENT_LIST: Statement = Statement {
    name: "agent_list",
    sql: agent_list!("true"),
    access: Access::Scans("all agents are wanted, and there are hundreds, not millions"),
    max_rows: 200,
};

pub(super) static AGENT_LIST_ACTIVE: Statement = Statement {
    name: "agent_list_active",
    sql: agent_list!("is_active"),
    access: Access::Indexes(&["idx_agents_active"]),
    max_rows: 200,
};

pub(super) static AGENT_LIST_TYPE: Statement = Statement {
    name: "agent_list_type",
    sql: agent_list!("agent_type = $1::text"),
    access: Access::Indexes(&["idx_agents_type"]),
    max_rows: 200,
};

pub(super) static AGENT_LIST_TYPE_ACTIVE: Statement = Statement {
    name: "agent_list_type_active",
    sql: agent_list!("agent_type = $1::text AND is_active"),
    access: Access::Indexes(&["idx_agents_type_active"]),
    max_rows: 200,
};

/// The agents, oldest first, as a JSON array: those of one type, or of all; the active ones, or all.
pub async fn agent_list(
    db: &Db,
    active_only: bool,
    agent_type: Option<String>,
) -> Result<String, DbError> {
    let statement = match (active_only, agent_type.is_some()) {
        (false, false) => &AGENT_LIST,
        (true, false) => &AGENT_LIST_ACTIVE,
        (false, true) => &AGENT_LIST_TYPE,
        (true, true) => &AGENT_LIST_TYPE_ACTIVE,
    };
    let parameters = agent_type.into_iter().map(Parameter::Str).collect();
    Ok(db.text(statement, parameters).await?.unwrap_or_default())
}

pub(super) static AGENT_GET: Statement = Statement {
    name: "agent_get",
    sql: concat!(
        "SELECT row_to_json(agent)::text FROM (SELECT ",
        agent_columns!(),
        " FROM agents WHERE id = $1::uuid) AS agent"
    ),
    access: Access::Indexes(&["agents_pkey"]),
    max_rows: 1,
};

/// One agent as a JSON object; `None` where there's none of that id.
pub async fn agent_get(db: &Db, id: Uuid) -> Result<Option<String>, DbError> {
    db.text(&AGENT_GET, vec![Parameter::Uuid(id.to_string())])
        .await
}

pub(super) static AGENT_GET_BY_NAME: Statement = Statement {
    name: "agent_get_by_name",
    sql: concat!(
        "SELECT row_to_json(agent)::text FROM (SELECT ",
        agent_columns!(),
        " FROM agents WHERE name = $1::text) AS agent"
    ),
    access: Access::Indexes(&["idx_agents_name"]),
    max_rows: 1,
};

/// One agent as a JSON object; `None` where there's none of that name. `name` begins with the @.
pub async fn agent_get_by_name(db: &Db, name: String) -> Result<Option<String>, DbError> {
    db.text(&AGENT_GET_BY_NAME, vec![Parameter::Str(name)])
        .await
}
