//! Statements on the table `tasks`, which are not part of a workflow. Doesn't depend on HTTP; returns JSON text.

use uuid::Uuid;

use super::list::{Items, List, Order, Page, items, list};
use super::row::{IfMatch, Row, locked, row, stale_or_absent, tag_matches, written};
use super::sql::times;
use super::{Outcome, text, uuid};
use crate::db::{Access, Db, DbError, Effect, Statement};

/// The members of a task, in the order the API shows them.
macro_rules! task_columns {
    () => {
        concat!(
            "id, description, assigned_to, status, priority, context, result, ",
            times!("created_at", "started_at", "completed_at")
        )
    };
}

pub(super) static TASK_LIST: List = list! {
    name: "task_list",
    parent_exists: "true",
    columns: task_columns!(),
    text_bytes: "octet_length(stored.description) + coalesce(octet_length(stored.result), 0)",
    extra_hash: "hashtextextended(item.context::text, 0)",
    table: "public.tasks",
    filter: "true",
    order: Order::Newest,
    cached: None,
    access: Access::Indexes(&["tasks_created_at_idx"]),
};

pub(super) static TASK_LIST_STATUS: List = list! {
    name: "task_list_status",
    parent_exists: "true",
    columns: task_columns!(),
    text_bytes: "octet_length(stored.description) + coalesce(octet_length(stored.result), 0)",
    extra_hash: "hashtextextended(item.context::text, 0)",
    table: "public.tasks",
    within: ["status" = "$5::text"],
    order: Order::Newest,
    cached: None,
    access: Access::Indexes(&["tasks_status_created_at_idx"]),
};

/// Lists the tasks, newest first. `status` is a filter.
pub async fn task_list(
    db: &Db,
    page: Page,
    status: Option<&str>,
) -> Result<Option<Items>, DbError> {
    let list = match status {
        None => &TASK_LIST,
        Some(_) => &TASK_LIST_STATUS,
    };
    items(db, list, page, status.map(text)).await
}

pub(super) static TASK_CREATE: Statement = Statement {
    name: "task_create",
    sql: constcat::concat![
        "WITH new AS (
            SELECT * FROM jsonb_to_record($1::text::jsonb)
                AS new(description text, assigned_to uuid, priority int, context jsonb)
        ), task AS (
            INSERT INTO public.tasks (description, assigned_to, priority, context)
            SELECT description, assigned_to, coalesce(priority, 0), coalesce(context, '{}')
            FROM new
            RETURNING ",
        task_columns!(),
        ")",
        written!(created: "task", otherwise: "'absent'")
    ],
    effect: Effect::Writes(&["tasks"]),
    access: Access::Inserts(&["tasks_pkey"]),
    max_rows: 1,
};

/// Creates a task from a JSON body with its members.
pub async fn task_create(db: &Db, body: String) -> Result<Outcome, DbError> {
    Ok(db.answer(&TASK_CREATE, vec![text(body)]).await?.into())
}

pub(super) static TASK_GET: Statement = Statement {
    name: "task_get",
    sql: row!(task_columns!(), "public.tasks WHERE id = $1::uuid"),
    effect: Effect::Reads,
    access: Access::Indexes(&["tasks_pkey"]),
    max_rows: 1,
};

/// Returns one task; `None` if there is no task with that id.
pub async fn task_get(db: &Db, id: Uuid) -> Result<Option<Row>, DbError> {
    let answer = db.answer(&TASK_GET, vec![uuid(id)]).await?;
    Ok(Row::of(answer))
}

pub(super) static TASK_UPDATE: Statement = Statement {
    name: "task_update",
    sql: constcat::concat![
        "WITH ",
        locked!(task_columns!(), "public.tasks WHERE id = $1::uuid", "FOR NO KEY UPDATE", "$3::text"),
        "patch AS (SELECT $2::text::jsonb AS members), task AS (
            UPDATE public.tasks SET
                description = coalesce(members ->> 'description', description),
                assigned_to = CASE WHEN members ? 'assigned_to' THEN (members ->> 'assigned_to')::uuid
                                   ELSE assigned_to END,
                status = coalesce(members ->> 'status', status),
                priority = coalesce((members ->> 'priority')::int, priority),
                context = coalesce(members -> 'context', context),
                result = CASE WHEN members ? 'result' THEN members ->> 'result' ELSE result END,
                started_at = CASE WHEN members ->> 'status' = 'pending' THEN NULL
                                  WHEN members ->> 'status' IS NULL THEN started_at
                                  ELSE coalesce(started_at, now()) END,
                completed_at = CASE WHEN members ->> 'status' IN ('completed', 'failed')
                                    THEN coalesce(completed_at, now())
                                    WHEN members ->> 'status' IS NULL THEN completed_at END
            FROM patch WHERE id = $1::uuid AND ",
        tag_matches!("$3::text"),
        " RETURNING ",
        task_columns!(),
        ")",
        written!(row: "task", otherwise: stale_or_absent!())
    ],
    effect: Effect::Writes(&["tasks"]),
    access: Access::Indexes(&["tasks_pkey"]),
    max_rows: 1,
};

/// Changes the members of a task that the body has. A status in the body also sets the task's times.
pub async fn task_update(
    db: &Db,
    id: Uuid,
    body: String,
    if_match: &IfMatch,
) -> Result<Outcome, DbError> {
    let parameters = vec![uuid(id), text(body), if_match.parameter()];
    Ok(db.answer(&TASK_UPDATE, parameters).await?.into())
}
