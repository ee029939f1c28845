//! Statements on the table `tasks`. Its tasks are not part of a workflow. The functions return JSON text and don't depend on HTTP.

use std::sync::LazyLock;

use uuid::Uuid;

use super::list::{Items, List, ListOf, Page, items};
use super::row::{IfMatch, PATCH, Row, change, row, stale_or_absent, written};
use super::{Outcome, text, uuid};
use crate::db::{Access, Db, DbError, Effect, Statement};
use crate::schema::tasks;

pub(super) static TASK_LIST: LazyLock<List> = LazyLock::new(|| {
    List::new(ListOf {
        name: "task_list",
        table: "tasks",
        columns: tasks::COLUMNS,
        text_bytes: Some(
            "octet_length(stored.description) + coalesce(octet_length(stored.result), 0)",
        ),
        extra_hash: "hashtextextended(item.context::text, 0)",
        filters: &tasks::TASK_LIST,
        ..ListOf::ROWS
    })
});

/// Lists the tasks, newest first.
pub async fn task_list(db: &Db, page: Page) -> Result<Option<Items>, DbError> {
    items(db, &TASK_LIST, page, None).await
}

pub(super) static TASK_CREATE: Statement = Statement {
    name: "task_create",
    sql: constcat::concat![
        "WITH new AS (SELECT * FROM jsonb_to_record($1::text::jsonb) AS new(",
        tasks::NEW,
        ")), task AS (INSERT INTO public.tasks (",
        tasks::CREATED,
        ") SELECT ",
        tasks::VALUES,
        " FROM new RETURNING ",
        tasks::COLUMNS,
        ")",
        written!(created: "task", otherwise: "'absent'")
    ],
    effect: Effect::Writes(&["tasks"]),
    access: Access::Inserts(&["tasks_pkey"]),
    max_rows: 1,
};

/// Creates a task. `body` is the validated JSON object with the task's fields.
pub async fn task_create(db: &Db, body: String) -> Result<Outcome, DbError> {
    Ok(db.answer(&TASK_CREATE, vec![text(body)]).await?.into())
}

pub(super) static TASK_GET: Statement = Statement {
    name: "task_get",
    sql: row!(tasks::COLUMNS, "public.tasks WHERE id = $1::uuid"),
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
    sql: change!(
        row: "task", table: "public.tasks", columns: tasks::COLUMNS, if_match: "$3::text",
        set: [
            tasks::CHANGES,
            ", started_at = CASE WHEN members ->> 'status' = 'pending' THEN NULL
                                 WHEN members ->> 'status' IS NULL THEN started_at
                                 ELSE coalesce(started_at, now()) END,
               completed_at = CASE WHEN members ->> 'status' IN ('completed', 'failed')
                                   THEN coalesce(completed_at, now())
                                   WHEN members ->> 'status' IS NULL THEN completed_at END",
            PATCH
        ],
        otherwise: stale_or_absent!()
    ),
    effect: Effect::Writes(&["tasks"]),
    access: Access::Indexes(&["tasks_pkey"]),
    max_rows: 1,
};

/// Updates a task. `body` is the validated JSON object with only the fields to change. A new status also sets `started_at` and `completed_at`.
pub async fn task_update(
    db: &Db,
    id: Uuid,
    body: String,
    if_match: &IfMatch,
) -> Result<Outcome, DbError> {
    let parameters = vec![uuid(id), text(body), if_match.parameter()];
    Ok(db.answer(&TASK_UPDATE, parameters).await?.into())
}
