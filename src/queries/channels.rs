//! Statements on the table `channels`, and on a channel's messages. The functions return JSON text and don't depend on HTTP.

use std::sync::LazyLock;

use uuid::Uuid;

use super::cache::CHANNELS;
use super::list::{Items, List, ListOf, Order, Page, Parent, UNKNOWN_LIMIT, items};
use super::row::{IfMatch, PATCH, Row, change, row, stale_or_absent, tag_matches, written};
use super::{Outcome, text, uuid};
use crate::db::{Access, Db, DbError, Effect, Statement};
use crate::schema::{channels, messages};

pub(super) static CHANNEL_LIST: LazyLock<List> = LazyLock::new(|| {
    List::new(ListOf {
        name: "channel_list",
        table: CHANNELS,
        columns: channels::COLUMNS,
        condition: "NOT is_archived",
        order: Order::Oldest,
        filters: &channels::CHANNEL_LIST,
        is_cached: true,
        ..ListOf::ROWS
    })
});

/// Lists the channels that aren't archived, oldest first.
pub async fn channel_list(db: &Db, page: Page) -> Result<Option<Items>, DbError> {
    items(db, &CHANNEL_LIST, page, None).await
}

pub(super) static CHANNEL_CREATE: Statement = Statement {
    name: "channel_create",
    sql: constcat::concat![
        "WITH new AS (SELECT * FROM jsonb_to_record($1::text::jsonb) AS new(",
        channels::NEW,
        ")), channel AS (INSERT INTO public.channels (",
        channels::CREATED,
        ") SELECT ",
        channels::VALUES,
        " FROM new RETURNING ",
        channels::COLUMNS,
        ")",
        written!(created: "channel", otherwise: "'absent'")
    ],
    effect: Effect::Writes(&["channels"]),
    access: Access::Inserts(&["channels_name_key"]),
    max_rows: 1,
};

/// Creates a channel. `body` is the validated JSON object with the channel's fields.
pub async fn channel_create(db: &Db, body: String) -> Result<Outcome, DbError> {
    Ok(db.answer(&CHANNEL_CREATE, vec![text(body)]).await?.into())
}

pub(super) static CHANNEL_GET: Statement = Statement {
    name: "channel_get",
    sql: row!(channels::COLUMNS, "public.channels WHERE id = $1::uuid"),
    effect: Effect::Reads,
    access: Access::Indexes(&["channels_pkey"]),
    max_rows: 1,
};

/// Returns one channel; `None` if there is no channel with that id.
pub async fn channel_get(db: &Db, id: Uuid) -> Result<Option<Row>, DbError> {
    let answer = db.cached(CHANNELS, &CHANNEL_GET, vec![uuid(id)]).await?;
    Ok(Row::of(answer))
}

pub(super) static CHANNEL_UPDATE: Statement = Statement {
    name: "channel_update",
    sql: change!(
        row: "channel", table: "public.channels", columns: channels::COLUMNS, if_match: "$3::text",
        set: [channels::CHANGES, ", updated_at = now()", PATCH],
        allowed: "(dm_agent_id IS NULL OR name = coalesce(members ->> 'name', name))",
        otherwise: concat!(
            "CASE WHEN ", tag_matches!("$3::text"), " AND EXISTS (SELECT FROM public.channels WHERE id = $1::uuid)
                  THEN 'refused dm' ELSE ", stale_or_absent!(), " END"
        )
    ),
    effect: Effect::Writes(&["channels"]),
    access: Access::Indexes(&["channels_pkey"]),
    max_rows: 1,
};

/// Updates a channel. `body` is the validated JSON object with only the fields to change.
pub async fn channel_update(
    db: &Db,
    id: Uuid,
    body: String,
    if_match: &IfMatch,
) -> Result<Outcome, DbError> {
    let parameters = vec![uuid(id), text(body), if_match.parameter()];
    Ok(db.answer(&CHANNEL_UPDATE, parameters).await?.into())
}

pub(super) static CHANNEL_ARCHIVE: Statement = Statement {
    name: "channel_archive",
    sql: change!(
        row: "channel", table: "public.channels", columns: channels::COLUMNS, if_match: "$2::text",
        set: ["is_archived = true, updated_at = now()"],
        message: "'Channel ' || name || ' is archived; its messages stay.'",
        otherwise: stale_or_absent!()
    ),
    effect: Effect::Writes(&["channels"]),
    access: Access::Indexes(&["channels_pkey"]),
    max_rows: 1,
};

/// Archives a channel. The channel's messages are kept.
pub async fn channel_archive(db: &Db, id: Uuid, if_match: &IfMatch) -> Result<Outcome, DbError> {
    let parameters = vec![uuid(id), if_match.parameter()];
    Ok(db.answer(&CHANNEL_ARCHIVE, parameters).await?.into())
}

pub(super) static CHANNEL_CLEAR: Statement = Statement {
    name: "channel_clear",
    sql: change!(
        row: "channel", table: "public.channels", columns: channels::COLUMNS, if_match: "$2::text",
        set: ["context_cleared_at = clock_timestamp(), updated_at = now()"],
        message: "'The history of channel ' || name || ' begins anew.'",
        otherwise: stale_or_absent!()
    ),
    effect: Effect::Writes(&["channels"]),
    access: Access::Indexes(&["channels_pkey"]),
    max_rows: 1,
};

/// Hides all messages up to now from a channel's history.
pub async fn channel_clear(db: &Db, id: Uuid, if_match: &IfMatch) -> Result<Outcome, DbError> {
    let parameters = vec![uuid(id), if_match.parameter()];
    Ok(db.answer(&CHANNEL_CLEAR, parameters).await?.into())
}

pub(super) static CHANNEL_MESSAGE_LIST: LazyLock<List> = LazyLock::new(|| {
    List::new(ListOf {
        // The statement reads the newest rows, and the response shows the oldest of them first. The next page has older rows.
        name: "channel_message_list",
        table: "messages",
        columns: messages::COLUMNS,
        text_bytes: Some("octet_length(stored.content)"),
        parent: Some(Parent {
            table: CHANNELS,
            index: &["channels_pkey"],
            column: None,
        }),
        condition: "channel_id = (SELECT $5::uuid) AND created_at > coalesce(
            (SELECT context_cleared_at FROM public.channels WHERE id = $5::uuid), '-infinity')",
        limit: UNKNOWN_LIMIT,
        order: Order::NewestLast,
        filters: &messages::CHANNEL_MESSAGE_LIST,
        ..ListOf::ROWS
    })
});

/// Lists a channel's messages: the newest page first, and the oldest message of a page first. Returns `None` if there is no such channel.
pub async fn channel_message_list(db: &Db, page: Page, id: Uuid) -> Result<Option<Items>, DbError> {
    items(db, &CHANNEL_MESSAGE_LIST, page, Some(id)).await
}
