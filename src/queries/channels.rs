//! Statements on the table `channels`, and on a channel's messages. Doesn't depend on HTTP; returns JSON text.

use uuid::Uuid;

use super::cache::CHANNELS;
use super::list::{Items, List, Order, Page, items, list};
use super::messages::message_columns;
use super::row::{IfMatch, Row, locked, row, stale_or_absent, tag_matches, written};
use super::{Outcome, text, uuid};
use crate::db::{Access, Db, DbError, Effect, Statement};

/// The members of a channel, in the order the API shows them.
macro_rules! channel_columns {
    () => {
        concat!(
            "id, name, topic, channel_type, dm_agent_id, is_archived, ",
            $crate::queries::sql::times!("context_cleared_at", "created_at", "updated_at")
        )
    };
}
pub(super) use channel_columns;

pub(super) static CHANNEL_LIST: List = list! {
    name: "channel_list",
    parent_exists: "true",
    columns: channel_columns!(),
    text_bytes: none,
    extra_hash: "0",
    table: "public.channels",
    filter: "NOT is_archived",
    order: Order::Oldest,
    cached: Some(CHANNELS),
    access: Access::Indexes(&["channels_active_idx"]),
};

/// Lists the channels that aren't archived, oldest first.
pub async fn channel_list(db: &Db, page: Page) -> Result<Option<Items>, DbError> {
    items(db, &CHANNEL_LIST, page, []).await
}

pub(super) static CHANNEL_CREATE: Statement = Statement {
    name: "channel_create",
    sql: constcat::concat![
        "WITH new AS (
            SELECT * FROM jsonb_to_record($1::text::jsonb) AS new(name text, topic text, channel_type text)
        ), channel AS (
            INSERT INTO public.channels (name, topic, channel_type)
            SELECT name, topic, coalesce(channel_type, 'public') FROM new
            RETURNING ",
        channel_columns!(),
        ")",
        written!(created: "channel", otherwise: "'absent'")
    ],
    effect: Effect::Writes(&["channels"]),
    access: Access::Inserts(&["channels_name_key"]),
    max_rows: 1,
};

/// Creates a channel from a JSON body with its members.
pub async fn channel_create(db: &Db, body: String) -> Result<Outcome, DbError> {
    Ok(db.answer(&CHANNEL_CREATE, vec![text(body)]).await?.into())
}

pub(super) static CHANNEL_GET: Statement = Statement {
    name: "channel_get",
    sql: row!(channel_columns!(), "public.channels WHERE id = $1::uuid"),
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
    sql: constcat::concat![
        "WITH ",
        locked!(
            channel_columns!(),
            "public.channels WHERE id = $1::uuid",
            "FOR NO KEY UPDATE",
            "$3::text"
        ),
        "patch AS (SELECT $2::text::jsonb AS members), channel AS (
            UPDATE public.channels SET
                name = coalesce(members ->> 'name', name),
                topic = CASE WHEN members ? 'topic' THEN members ->> 'topic' ELSE topic END,
                channel_type = coalesce(members ->> 'channel_type', channel_type),
                updated_at = now()
            FROM patch WHERE id = $1::uuid AND (dm_agent_id IS NULL OR name = coalesce(members ->> 'name', name)) AND ",
        tag_matches!("$3::text"),
        " RETURNING ",
        channel_columns!(),
        ")",
        written!(
            row: "channel",
            otherwise: concat!(
                "CASE WHEN ", tag_matches!("$3::text"), " AND EXISTS (SELECT FROM public.channels WHERE id = $1::uuid)
                      THEN 'refused dm' ELSE ", stale_or_absent!(), " END"
            )
        )
    ],
    effect: Effect::Writes(&["channels"]),
    access: Access::Indexes(&["channels_pkey"]),
    max_rows: 1,
};

/// Changes the members of a channel that the body has.
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
    sql: constcat::concat![
        "WITH ",
        locked!(
            channel_columns!(),
            "public.channels WHERE id = $1::uuid",
            "FOR NO KEY UPDATE",
            "$2::text"
        ),
        "channel AS (
            UPDATE public.channels SET is_archived = true, updated_at = now()
            WHERE id = $1::uuid AND ",
        tag_matches!("$2::text"),
        " RETURNING ",
        channel_columns!(),
        ")",
        written!(
            row: "channel",
            message: "'Channel ' || name || ' is archived; its messages stay.'",
            otherwise: stale_or_absent!()
        )
    ],
    effect: Effect::Writes(&["channels"]),
    access: Access::Indexes(&["channels_pkey"]),
    max_rows: 1,
};

/// Archives a channel; its messages stay.
pub async fn channel_archive(db: &Db, id: Uuid, if_match: &IfMatch) -> Result<Outcome, DbError> {
    let parameters = vec![uuid(id), if_match.parameter()];
    Ok(db.answer(&CHANNEL_ARCHIVE, parameters).await?.into())
}

pub(super) static CHANNEL_CLEAR: Statement = Statement {
    name: "channel_clear",
    sql: constcat::concat![
        "WITH ",
        locked!(
            channel_columns!(),
            "public.channels WHERE id = $1::uuid",
            "FOR NO KEY UPDATE",
            "$2::text"
        ),
        "channel AS (
            UPDATE public.channels SET context_cleared_at = clock_timestamp(), updated_at = now()
            WHERE id = $1::uuid AND ",
        tag_matches!("$2::text"),
        " RETURNING ",
        channel_columns!(),
        ")",
        written!(
            row: "channel",
            message: "'The history of channel ' || name || ' begins anew.'",
            otherwise: stale_or_absent!()
        )
    ],
    effect: Effect::Writes(&["channels"]),
    access: Access::Indexes(&["channels_pkey"]),
    max_rows: 1,
};

/// Hides all messages up to now from a channel's history.
pub async fn channel_clear(db: &Db, id: Uuid, if_match: &IfMatch) -> Result<Outcome, DbError> {
    let parameters = vec![uuid(id), if_match.parameter()];
    Ok(db.answer(&CHANNEL_CLEAR, parameters).await?.into())
}

pub(super) static CHANNEL_MESSAGE_LIST: List = list! {
    // A page is read from its newest row backwards, and shown oldest first. The next page is older.
    name: "channel_message_list",
    parent_exists: "EXISTS (SELECT FROM public.channels WHERE id = $5::uuid)",
    columns: message_columns!(),
    text_bytes: "octet_length(stored.content)",
    extra_hash: "0",
    table: "public.messages",
    filter: "channel_id = (SELECT $5::uuid) AND created_at > coalesce(
        (SELECT context_cleared_at FROM public.channels WHERE id = $5::uuid), '-infinity')",
    limit: unknown,
    order: Order::NewestLast,
    cached: None,
    access: Access::Indexes(&["idx_messages_channel_created", "channels_pkey"]),
};

/// Lists a channel's newest messages, the oldest of a page first; `None` if there is no such channel.
pub async fn channel_message_list(db: &Db, page: Page, id: Uuid) -> Result<Option<Items>, DbError> {
    items(db, &CHANNEL_MESSAGE_LIST, page, [uuid(id)]).await
}
