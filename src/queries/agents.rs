//! Statements on the table `agents`, and on an agent's messages and channel. The functions return JSON text and don't depend on HTTP.

use std::sync::LazyLock;

use uuid::Uuid;

use super::cache::AGENTS;
use super::list::{Items, List, ListOf, Order, Page, Parent, UNKNOWN_LIMIT, items};
use super::row::{IfMatch, PATCH, Row, change, row, stale_or_absent, written};
use super::{Outcome, text, uuid};
use crate::db::{Access, Db, DbError, Effect, Parameter, Statement};
use crate::schema::{agents, channels, messages};

pub(super) static AGENT_LIST: LazyLock<List> = LazyLock::new(|| {
    List::new(ListOf {
        name: "agent_list",
        table: AGENTS,
        columns: agents::COLUMNS,
        order: Order::OldestNullsFirst,
        filters: &agents::AGENT_LIST,
        is_small: true,
        is_cached: true,
        ..ListOf::ROWS
    })
});

/// Lists agents, oldest first.
pub async fn agent_list(db: &Db, page: Page) -> Result<Option<Items>, DbError> {
    items(db, &AGENT_LIST, page, None).await
}

pub(super) static AGENT_CREATE: Statement = Statement {
    name: "agent_create",
    sql: constcat::concat![
        "WITH new AS (SELECT * FROM jsonb_to_record($1::text::jsonb) AS new(",
        agents::NEW,
        ")), agent AS (INSERT INTO public.agents (",
        agents::CREATED,
        ") SELECT ",
        agents::VALUES,
        " FROM new RETURNING ",
        agents::COLUMNS,
        ")",
        written!(created: "agent", otherwise: "'absent'")
    ],
    effect: Effect::Writes(&["agents"]),
    access: Access::Inserts(&["idx_agents_name"]),
    max_rows: 1,
};

/// Creates an agent. `body` is the validated JSON object with the agent's fields.
pub async fn agent_create(db: &Db, body: String) -> Result<Outcome, DbError> {
    Ok(db.answer(&AGENT_CREATE, vec![text(body)]).await?.into())
}

pub(super) static AGENT_GET: Statement = Statement {
    name: "agent_get",
    sql: row!(agents::COLUMNS, "public.agents WHERE id = $1::uuid"),
    effect: Effect::Reads,
    access: Access::Indexes(&["agents_pkey"]),
    max_rows: 1,
};

/// Returns one agent; `None` if there is no agent with that id.
pub async fn agent_get(db: &Db, id: Uuid) -> Result<Option<Row>, DbError> {
    let answer = db.cached(AGENTS, &AGENT_GET, vec![uuid(id)]).await?;
    Ok(Row::of(answer))
}

pub(super) static AGENT_GET_BY_NAME: Statement = Statement {
    name: "agent_get_by_name",
    sql: row!(agents::COLUMNS, "public.agents WHERE name = $1::text"),
    effect: Effect::Reads,
    access: Access::Indexes(&["idx_agents_name"]),
    max_rows: 1,
};

/// Returns one agent; `None` if there is no agent with that name. `name` begins with `@`.
pub async fn agent_get_by_name(db: &Db, name: &str) -> Result<Option<Row>, DbError> {
    let answer = db
        .cached(AGENTS, &AGENT_GET_BY_NAME, vec![text(name)])
        .await?;
    Ok(Row::of(answer))
}

pub(super) static AGENT_UPDATE: Statement = Statement {
    name: "agent_update",
    sql: change!(
        row: "agent", table: "public.agents", columns: agents::COLUMNS, if_match: "$3::text",
        set: [agents::CHANGES, ", updated_at = now()", PATCH],
        otherwise: stale_or_absent!()
    ),
    effect: Effect::Writes(&["agents"]),
    access: Access::Indexes(&["agents_pkey"]),
    max_rows: 1,
};

/// Updates an agent. `body` is the validated JSON object with only the fields to change.
pub async fn agent_update(
    db: &Db,
    id: Uuid,
    body: String,
    if_match: &IfMatch,
) -> Result<Outcome, DbError> {
    let parameters = vec![uuid(id), text(body), if_match.parameter()];
    Ok(db.answer(&AGENT_UPDATE, parameters).await?.into())
}

pub(super) static AGENT_SET_ACTIVE: Statement = Statement {
    name: "agent_set_active",
    sql: change!(
        row: "agent", table: "public.agents", columns: agents::COLUMNS, if_match: "$3::text",
        set: ["is_active = $2::boolean, updated_at = now()"],
        message: "'Agent ' || name || CASE WHEN is_active THEN ' is active now.' ELSE ' is inactive now.' END",
        otherwise: stale_or_absent!()
    ),
    effect: Effect::Writes(&["agents"]),
    access: Access::Indexes(&["agents_pkey"]),
    max_rows: 1,
};

/// Activates or deactivates an agent.
pub async fn agent_set_active(
    db: &Db,
    id: Uuid,
    is_active: bool,
    if_match: &IfMatch,
) -> Result<Outcome, DbError> {
    let parameters = vec![
        uuid(id),
        Parameter::Boolean(is_active),
        if_match.parameter(),
    ];
    Ok(db.answer(&AGENT_SET_ACTIVE, parameters).await?.into())
}

pub(super) static AGENT_STATUS: Statement = Statement {
    name: "agent_status",
    sql: constcat::concat!["SELECT row_to_json(agent)::text FROM (
            SELECT id, name, agent_type, CASE WHEN is_active THEN 'online' ELSE 'offline' END AS status, is_busy
            FROM public.agents WHERE id = $1::uuid) AS agent"],
    effect: Effect::Reads,
    access: Access::Indexes(&["agents_pkey"]),
    max_rows: 1,
};

/// Returns an agent's status (online or offline) and whether it's busy, as JSON; `None` if there is no such agent.
pub async fn agent_status(db: &Db, id: Uuid) -> Result<Option<String>, DbError> {
    Ok(db.cached(AGENTS, &AGENT_STATUS, vec![uuid(id)]).await?.json)
}

pub(super) static AGENT_MESSAGE_LIST: LazyLock<List> = LazyLock::new(|| {
    List::new(ListOf {
        name: "agent_message_list",
        table: "messages",
        columns: messages::COLUMNS,
        text_bytes: Some("octet_length(stored.content)"),
        parent: Some(Parent {
            table: AGENTS,
            index: &["agents_pkey"],
            column: None,
        }),
        condition: "author_id = (SELECT $5::uuid) AND author_type = 'agent'",
        limit: UNKNOWN_LIMIT,
        filters: &messages::AGENT_MESSAGE_LIST,
        ..ListOf::ROWS
    })
});

/// Lists an agent's messages, newest first; `None` if there is no such agent.
pub async fn agent_message_list(db: &Db, page: Page, id: Uuid) -> Result<Option<Items>, DbError> {
    items(db, &AGENT_MESSAGE_LIST, page, Some(id)).await
}

pub(super) static AGENT_DM_CHANNEL: Statement = Statement {
    name: "agent_dm_channel",
    // If several sessions run the statement at once, one session inserts the row. The others wait, and get the row from DO UPDATE. DO NOTHING would
    // return no row to them, because their snapshots are older than the row. DO UPDATE also reopens an archived channel.
    sql: constcat::concat![
        "WITH existing AS (SELECT ",
        channels::COLUMNS,
        " FROM public.channels WHERE dm_agent_id = $1::uuid AND NOT is_archived
        ), made AS (
            INSERT INTO public.channels (name, topic, channel_type, dm_agent_id)
            SELECT 'dm-' || id, 'Direct messages with ' || name, 'dm', id
            FROM public.agents WHERE id = $1::uuid AND NOT EXISTS (SELECT FROM existing)
            ON CONFLICT (dm_agent_id) DO UPDATE SET is_archived = false
            RETURNING ",
        channels::COLUMNS,
        "), channel AS (SELECT * FROM existing UNION ALL SELECT * FROM made)",
        written!(row: "channel", otherwise: "'absent'")
    ],
    effect: Effect::Writes(&["channels"]),
    access: Access::Indexes(&["channels_dm_agent_id_key", "agents_pkey"]),
    max_rows: 1,
};

/// Returns an agent's direct-message channel, and creates it if necessary; `None` if there is no such agent.
pub async fn agent_dm_channel(db: &Db, id: Uuid) -> Result<Option<Row>, DbError> {
    let answer = db.answer(&AGENT_DM_CHANNEL, vec![uuid(id)]).await?;
    Ok(Row::of(answer))
}
