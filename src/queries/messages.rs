//! Statements on the table `messages`. The functions return JSON text and don't depend on HTTP.

use std::sync::LazyLock;

use uuid::Uuid;

use super::list::{Items, List, ListOf, Order, Page, items, key_time};
use super::row::{Row, row, written};
use super::{Outcome, text, uuid};
use crate::db::{Access, Db, DbError, Effect, Statement};
use crate::schema::messages;

pub(super) static MESSAGE_CREATE: Statement = Statement {
    name: "message_create",
    sql: constcat::concat![
        "WITH new AS (SELECT * FROM jsonb_to_record($2::text::jsonb) AS new(",
        messages::NEW,
        ")
        ), channel AS (
            SELECT is_archived FROM public.channels WHERE id = $1::uuid
        ), agent AS (
            SELECT agents.name FROM new JOIN public.agents ON agents.id = new.author_id WHERE new.author_type = 'agent'
        ), dangling AS (
            SELECT FROM new
            WHERE author_type = 'agent' AND NOT EXISTS (SELECT FROM agent)
               OR thread_id IS NOT NULL AND NOT EXISTS (
                    SELECT FROM public.messages WHERE messages.id = new.thread_id AND messages.channel_id = $1::uuid)
        ), message AS (
            INSERT INTO public.messages (channel_id, ",
        messages::CREATED,
        ") SELECT $1::uuid, ",
        messages::VALUES,
        "
            FROM new JOIN channel ON NOT is_archived
            WHERE NOT EXISTS (SELECT FROM dangling)
            RETURNING ",
        messages::COLUMNS,
        ")",
        written!(
            created: "message",
            otherwise: "CASE WHEN NOT EXISTS (SELECT FROM channel) THEN 'absent'
                WHEN (SELECT is_archived FROM channel) THEN 'refused archived'
                ELSE 'dangling' END"
        )
    ],
    effect: Effect::Writes(&["messages"]),
    access: Access::Indexes(&["channels_pkey", "agents_pkey", "messages_pkey"]),
    max_rows: 1,
};

/// Creates a message in a channel. `body` is the validated JSON object with the message's fields. Returns `Refused` if the channel is archived.
pub async fn message_create(db: &Db, channel_id: Uuid, body: String) -> Result<Outcome, DbError> {
    let parameters = vec![uuid(channel_id), text(body)];
    Ok(db.answer(&MESSAGE_CREATE, parameters).await?.into())
}

pub(super) static MESSAGE_GET: Statement = Statement {
    name: "message_get",
    sql: row!(messages::COLUMNS, "public.messages WHERE id = $1::uuid"),
    effect: Effect::Reads,
    access: Access::Indexes(&["messages_pkey"]),
    max_rows: 1,
};

/// Returns one message; `None` if there is no message with that id.
pub async fn message_get(db: &Db, id: Uuid) -> Result<Option<Row>, DbError> {
    let answer = db.answer(&MESSAGE_GET, vec![uuid(id)]).await?;
    Ok(Row::of(answer))
}

pub(super) static MESSAGE_LIST: LazyLock<List> = LazyLock::new(|| {
    List::new(ListOf {
        name: "message_list",
        table: "messages",
        columns: messages::COLUMNS,
        text_bytes: Some("octet_length(stored.content)"),
        // The comparison with the cursor implies this condition, but PostgreSQL skips older partitions only because of this condition.
        condition: concat!("created_at >= ", key_time!("$1")),
        order: Order::Oldest,
        filters: &messages::MESSAGE_LIST,
        ..ListOf::ROWS
    })
});

/// Lists the messages of all channels from a time on (microseconds since 1970; `i64::MIN` for all), oldest first.
///
/// The time and the cursor are both lower bounds. Only the later one is sent, because PostgreSQL might start an index scan at the earlier one.
pub async fn message_list(db: &Db, page: Page, since_us: i64) -> Result<Option<Items>, DbError> {
    items(db, &MESSAGE_LIST, page.from(since_us), None).await
}
