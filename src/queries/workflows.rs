//! Statements on the table `workflows`. The functions return JSON text and don't depend on HTTP.
//!
//! When a statement changes a workflow or a task, triggers (`migrations/0004_workflow_states.sql`) update related rows: tasks become ready, and a
//! workflow completes or fails. A statement that changes tasks locks the workflow's row first, so that concurrent writers take turns.

use std::sync::LazyLock;

use constcat::concat;
use uuid::Uuid;

use super::list::{Items, List, ListOf, Order, Page, PageOf, items};
use super::row::{IfMatch, Row, tag, tag_matches, written};
use super::workflow_tasks::TEXT_BYTES;
use super::{Outcome, text, uuid};
use crate::db::{Access, Db, DbError, Effect, Statement};
use crate::schema::{workflow_tasks, workflows};

pub(super) static WORKFLOW_LIST: LazyLock<List> = LazyLock::new(|| {
    List::new(ListOf {
        name: "workflow_list",
        table: "workflows",
        columns: workflows::COLUMNS,
        filters: &workflows::WORKFLOW_LIST,
        ..ListOf::ROWS
    })
});

/// Lists the workflows, newest first.
pub async fn workflow_list(db: &Db, page: Page) -> Result<Option<Items>, DbError> {
    items(db, &WORKFLOW_LIST, page, None).await
}

pub(super) static WORKFLOW_CREATE: Statement = Statement {
    name: "workflow_create",
    // In the body, a task's depends_on contains positions in the list of tasks, because this statement generates the ids.
    sql: constcat::concat![
        "WITH new AS (SELECT * FROM jsonb_to_record($1::text::jsonb) AS new(",
        workflows::NEW,
        ", tasks jsonb)
        ), orchestrator AS (
            SELECT agents.id FROM new JOIN public.agents ON agents.id = new.orchestrator_id
            UNION ALL
            (SELECT id FROM public.agents
             WHERE agent_type = 'orchestrator' AND is_active AND (SELECT orchestrator_id FROM new) IS NULL
             ORDER BY created_at, id LIMIT 1)
        ), new_task AS MATERIALIZED (
            SELECT (item.position - 1)::int AS position, gen_random_uuid() AS id,
                   task.description, task.agent_id, task.order_index, task.depends_on
            FROM new,
                 jsonb_array_elements(coalesce(tasks, '[]')) WITH ORDINALITY AS item(members, position),
                 jsonb_to_record(item.members)
                     AS task(description text, agent_id uuid, order_index int, depends_on int[])
        ), workflow AS (
            INSERT INTO public.workflows (",
        workflows::CREATED,
        ") SELECT ",
        workflows::VALUES,
        "
            FROM new, orchestrator
            RETURNING ",
        workflows::COLUMNS,
        "), workflow_task AS (
            INSERT INTO public.workflow_tasks (id, workflow_id, description, agent_id, order_index, depends_on)
            SELECT new_task.id, workflow.id, new_task.description, agent_id, coalesce(order_index, position),
                   ARRAY(SELECT earlier.id FROM new_task AS earlier
                         WHERE earlier.position = ANY (new_task.depends_on) ORDER BY earlier.position)
            FROM workflow, new_task
            RETURNING ",
        workflow_tasks::COLUMNS,
        // Builds the same JSON as WORKFLOW_GET, so that the tag is the same.
        "), whole AS (
            SELECT workflow.*, (
                SELECT ('[' || coalesce(string_agg(row_to_json(workflow_task)::text, ',' ORDER BY order_index, id), '') || ']')::json
                FROM workflow_task) AS workflow_tasks
            FROM workflow
        )",
        written!(
            created: "whole",
            otherwise: "CASE WHEN (SELECT orchestrator_id IS NOT NULL FROM new) THEN 'dangling'
                ELSE 'refused orchestratorless' END"
        )
    ],
    effect: Effect::Writes(&["workflow_tasks", "workflows"]),
    access: Access::Indexes(&["idx_agents_type_active", "agents_pkey"]),
    max_rows: 1,
};

/// Creates a workflow with its tasks. `body` is a validated JSON object. Returns `Refused` if it names no orchestrator and none is active.
pub async fn workflow_create(db: &Db, body: String) -> Result<Outcome, DbError> {
    Ok(db.answer(&WORKFLOW_CREATE, vec![text(body)]).await?.into())
}

/// Returns the text of [`WORKFLOW_GET`], which writes also run to compute the workflow's tag.
fn workflow_get_sql() -> String {
    let order = Order::Position;
    let (json, next, columns) = (order.json(), order.next(), workflows::COLUMNS);
    let tasks = PageOf {
        json: &format!("('[' || {json} || ']')::json AS workflow_tasks"),
        note: &format!("CASE WHEN NOT bool_and(fits) THEN {next} END AS next"),
        key: order.key(),
        columns: workflow_tasks::COLUMNS,
        text_bytes: Some(TEXT_BYTES),
        extra_hash: "0",
        rows: "public.workflow_tasks WHERE workflow_id = $1::uuid ORDER BY order_index, id LIMIT 1000",
    };
    let (tasks, tag) = (tasks.sql(), tag!("json"));
    format!(
        "WITH tasks AS MATERIALIZED ({tasks}) SELECT json, {tag} || coalesce(' ' || next, '') FROM (
            SELECT row_to_json(workflow)::text AS json, (SELECT next FROM tasks) AS next
            FROM (SELECT {columns}, (SELECT workflow_tasks FROM tasks) AS workflow_tasks
                  FROM public.workflows WHERE id = $1::uuid) AS workflow OFFSET 0) AS answer"
    )
}

pub(super) static WORKFLOW_GET: LazyLock<Statement> = LazyLock::new(|| Statement {
    name: "workflow_get",
    sql: workflow_get_sql().leak(),
    effect: Effect::Reads,
    access: Access::IndexesAndOneOf(
        &["workflows_pkey"],
        &[
            "idx_workflow_tasks_workflow_id",
            "idx_workflow_tasks_workflow_status",
        ],
    ),
    max_rows: 1000,
});

/// Reads a workflow with its tasks. If the tasks don't fit into one page, returns the first page and the cursor of the next.
/// `None` if there is no workflow with that id.
pub async fn workflow_get(db: &Db, id: Uuid) -> Result<Option<(Row, Option<String>)>, DbError> {
    let answer = db.answer(&WORKFLOW_GET, vec![uuid(id)]).await?;
    Ok(Row::of(answer).map(|Row { json, tag, .. }| {
        let tag = tag.unwrap_or_default();
        let (tag, next) = match tag.split_once(' ') {
            Some((tag, next)) => (tag.to_owned(), Some(next.to_owned())),
            None => (tag, None),
        };
        (
            Row {
                json,
                tag: Some(tag),
                created_id: None,
            },
            next,
        )
    }))
}

/// CTEs for a write on one workflow: `current` locks its row, and `seen` has the tag of the workflow with its tasks after the lock.
/// The snapshot of this statement is older than the lock and may show old tasks, so a separate statement reads the tag
/// (`execute_now`, migration 0011).
const LOCKED: &str = "current AS (
        SELECT id, status FROM public.workflows WHERE id = $1::uuid FOR UPDATE
    ), seen AS MATERIALIZED (
        SELECT split_part(found.note, ' ', 1) AS tag
        FROM current, get, LATERAL public.execute_now(get.statement, current.id) AS found
        WHERE $2::text IS NOT NULL
    ), ";

/// SQL condition: true if the workflow's tag is in `If-Match`, or if the request has no `If-Match`.
const TAG_MATCHES: &str = tag_matches!("$2::text");

/// SQL for the note of a write that has changed no workflow: the reason.
const UNCHANGED: &str = concat!(
    "CASE WHEN NOT EXISTS (SELECT FROM current) THEN 'absent' WHEN NOT ",
    TAG_MATCHES,
    " THEN 'stale ' || (SELECT tag FROM seen) ELSE 'refused ' || (SELECT status FROM current) END"
);

/// Returns a statement that writes one workflow. `change` follows the CTEs of [`LOCKED`], and has the CTE `workflow` and the final SELECT. To read
/// the workflow, `change` may execute the SQL text in the CTE `get`.
fn workflow_write(name: &'static str, change: &str) -> Statement {
    let get = workflow_get_sql();
    Statement {
        name,
        sql: format!("WITH get AS (SELECT $get${get}$get$::text AS statement), {LOCKED}{change}")
            .leak(),
        effect: Effect::Writes(&["workflows"]),
        access: Access::Indexes(&["workflows_pkey"]),
        max_rows: 1,
    }
}

/// Returns a statement that changes one workflow's state with `set` if `allowed` is true. The function `execute_now` runs the UPDATE as a statement
/// of its own, because the UPDATE's triggers must change the tasks before the new tag is read.
fn workflow_change(name: &'static str, set: &str, allowed: &str, message: &str) -> Statement {
    let columns = workflows::COLUMNS;
    workflow_write(name, &format!(
        "workflow AS MATERIALIZED (
            SELECT current.id, done.json, done.note AS message
            FROM current, LATERAL public.execute_now($do$
                UPDATE public.workflows SET {set} WHERE id = $1
                RETURNING (SELECT row_to_json(item)::text FROM (SELECT {columns}) AS item), {message}$do$, current.id) AS done
            WHERE {allowed} AND {TAG_MATCHES})
        SELECT left(json, -1) || ',\"message\":' || to_json(message)::text || '}}',
            CASE WHEN json IS NULL THEN {UNCHANGED}
                 ELSE (SELECT split_part(found.note, ' ', 1)
                       FROM workflow, get, LATERAL public.execute_now(get.statement, workflow.id) AS found) END
        FROM (SELECT (SELECT json FROM workflow) AS json, (SELECT message FROM workflow) AS message OFFSET 0) AS answer",
    ))
}

pub(super) static WORKFLOW_DELETE: LazyLock<Statement> = LazyLock::new(|| {
    let columns = workflows::COLUMNS;
    workflow_write(
        "workflow_delete",
        &format!(
            "workflow AS (
            DELETE FROM public.workflows
            WHERE id = (SELECT id FROM current) AND status <> 'executing' AND {TAG_MATCHES}
            RETURNING {columns}, 'Workflow ' || id || ' is deleted.' AS message)
        SELECT (SELECT row_to_json(workflow)::text FROM workflow),
            CASE WHEN NOT EXISTS (SELECT FROM workflow) THEN {UNCHANGED} END",
        ),
    )
});

/// Deletes a workflow with its tasks. Returns `Refused` while the workflow is executing.
pub async fn workflow_delete(db: &Db, id: Uuid, if_match: &IfMatch) -> Result<Outcome, DbError> {
    let parameters = vec![uuid(id), if_match.parameter()];
    Ok(db.answer(&WORKFLOW_DELETE, parameters).await?.into())
}

pub(super) static WORKFLOW_START: LazyLock<Statement> = LazyLock::new(|| {
    workflow_change(
        "workflow_start",
        "status = 'executing', started_at = coalesce(started_at, now()), completed_at = NULL",
        "current.status IN ('pending', 'planning', 'failed')",
        "'Workflow ' || id || ' is ' || status || '.'",
    )
});

/// Starts a pending, planning or failed workflow. Failed tasks are retried.
pub async fn workflow_start(db: &Db, id: Uuid, if_match: &IfMatch) -> Result<Outcome, DbError> {
    let parameters = vec![uuid(id), if_match.parameter()];
    Ok(db.answer(&WORKFLOW_START, parameters).await?.into())
}

pub(super) static WORKFLOW_CANCEL: LazyLock<Statement> = LazyLock::new(|| {
    workflow_change(
        "workflow_cancel",
        "status = 'cancelled', completed_at = now()",
        "current.status = 'executing'",
        "'Workflow ' || id || ' is cancelled; tasks that were not done are skipped.'",
    )
});

/// Cancels a workflow that is executing. Its open tasks are skipped.
pub async fn workflow_cancel(db: &Db, id: Uuid, if_match: &IfMatch) -> Result<Outcome, DbError> {
    let parameters = vec![uuid(id), if_match.parameter()];
    Ok(db.answer(&WORKFLOW_CANCEL, parameters).await?.into())
}
