//! Statements on the table `workflows`. Knows nothing of requests; gives JSON text.
//!
//! What follows from a change (tasks that become ready, a workflow that completes or fails) is the work of triggers:
//! `migrations/0004_workflow_states.sql`. Whoever changes tasks locks the workflow's row first, so that two writers
//! come one after the other.

use uuid::Uuid;

use super::list::{Items, List, Order, Page, items, list, page};
use super::workflow_tasks::{BY_WORKFLOW, workflow_task_columns};
use super::{Outcome, sql, text, uuid};
use crate::db::{Access, Answer, Db, DbError, Statement};

/// The members of a workflow, in the order the API shows them.
macro_rules! workflow_columns {
    () => {
        "id, description, orchestrator_id, channel_id, status, execution_strategy, created_at, started_at, completed_at"
    };
}

pub(super) static WORKFLOW_LIST: List = list! {
    name: "workflow_list",
    of: "true",
    columns: workflow_columns!(),
    long: "octet_length(description)",
    loose: "0",
    rows: "workflows WHERE true",
    order: Order::Newest,
    cached: None,
    access: Access::Indexes(&["idx_workflows_created_at"]),
};

pub(super) static WORKFLOW_LIST_STATUS: List = list! {
    name: "workflow_list_status",
    of: "true",
    columns: workflow_columns!(),
    long: "octet_length(description)",
    loose: "0",
    rows: "workflows WHERE status = $5::text",
    order: Order::Newest,
    cached: None,
    access: Access::Indexes(&["idx_workflows_status_created"]),
};

pub(super) static WORKFLOW_LIST_CHANNEL: List = list! {
    name: "workflow_list_channel",
    of: "true",
    columns: workflow_columns!(),
    long: "octet_length(description)",
    loose: "0",
    rows: "workflows WHERE channel_id = $5::uuid",
    order: Order::Newest,
    cached: None,
    access: Access::Indexes(&["idx_workflows_channel_id"]),
};

pub(super) static WORKFLOW_LIST_CHANNEL_STATUS: List = list! {
    name: "workflow_list_channel_status",
    of: "true",
    columns: workflow_columns!(),
    long: "octet_length(description)",
    loose: "0",
    rows: "workflows WHERE channel_id = $5::uuid AND status = $6::text",
    order: Order::Newest,
    cached: None,
    access: Access::Indexes(&["idx_workflows_channel_id"]),
};

/// The workflows, newest first: those of one status, of one channel, of both, or all.
pub async fn workflow_list(
    db: &Db,
    page: Page,
    channel_id: Option<Uuid>,
    status: Option<&str>,
) -> Result<Option<Items>, DbError> {
    let list = match (channel_id, status) {
        (None, None) => &WORKFLOW_LIST,
        (None, Some(_)) => &WORKFLOW_LIST_STATUS,
        (Some(_), None) => &WORKFLOW_LIST_CHANNEL,
        (Some(_), Some(_)) => &WORKFLOW_LIST_CHANNEL_STATUS,
    };
    let filters = channel_id.map(uuid).into_iter().chain(status.map(text));
    items(db, list, page, filters).await
}

pub(super) static WORKFLOW_CREATE: Statement = Statement {
    name: "workflow_create",
    // A task's depends_on holds positions in the list of tasks: their ids are made here.
    sql: sql![
        "WITH new AS (
            SELECT * FROM jsonb_to_record($1::text::jsonb)
                AS new(description text, orchestrator_id uuid, channel_id uuid, execution_strategy text, tasks jsonb)
        ), orchestrator AS (
            SELECT agents.id FROM new JOIN agents ON agents.id = new.orchestrator_id
            UNION ALL
            (SELECT id FROM agents
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
            INSERT INTO workflows (description, orchestrator_id, channel_id, execution_strategy)
            SELECT description, orchestrator.id, channel_id, coalesce(execution_strategy, 'sequential')
            FROM new, orchestrator
            RETURNING ",
        workflow_columns!(),
        "), workflow_task AS (
            INSERT INTO workflow_tasks (id, workflow_id, description, agent_id, order_index, depends_on)
            SELECT new_task.id, workflow.id, new_task.description, agent_id, coalesce(order_index, position),
                   ARRAY(SELECT earlier.id FROM new_task AS earlier
                         WHERE earlier.position = ANY (new_task.depends_on) ORDER BY earlier.position)
            FROM workflow, new_task
            RETURNING ",
        workflow_task_columns!(),
        ") SELECT (
            SELECT row_to_json(answer)::text FROM (
                SELECT workflow.*, (
                    SELECT coalesce(json_agg(workflow_task ORDER BY order_index, id), '[]') FROM workflow_task
                ) AS workflow_tasks FROM workflow) AS answer),
            CASE WHEN (SELECT orchestrator_id IS NOT NULL FROM new) THEN 'dangling'
                 ELSE 'refused orchestratorless' END"
    ],
    access: Access::Indexes(&["idx_agents_type_active", "agents_pkey"]),
    max_rows: 1,
};

/// A new workflow with its tasks, from a body with its members. Refused where it names no orchestrator and none is active.
pub async fn workflow_create(db: &Db, body: String) -> Result<Outcome, DbError> {
    Ok(db.answer(&WORKFLOW_CREATE, vec![text(body)]).await?.into())
}

pub(super) static WORKFLOW_GET: Statement = Statement {
    name: "workflow_get",
    sql: page!(
        begin: "WITH tasks AS MATERIALIZED (",
        json: ["('[' || ", Order::Place.json(), " || ']')::json AS workflow_tasks"],
        note: ["CASE WHEN NOT bool_and(fits) THEN ", Order::Place.next(), " END AS next"],
        key: Order::Place.key(),
        columns: workflow_task_columns!(),
        long: "octet_length(description) + coalesce(octet_length(output), 0) + coalesce(octet_length(error), 0)",
        loose: "0",
        rows: ["workflow_tasks WHERE workflow_id = $1::uuid ORDER BY order_index, id LIMIT 1000"],
        end: [
            ") SELECT row_to_json(workflow)::text, (SELECT next FROM tasks)
            FROM (SELECT ", workflow_columns!(), ", (SELECT workflow_tasks FROM tasks) AS workflow_tasks
                  FROM workflows WHERE id = $1::uuid) AS workflow"
        ]
    ),
    access: Access::IndexesAndOneOf(&["workflows_pkey"], BY_WORKFLOW),
    max_rows: 1000,
};

/// One workflow with its tasks, all of them or as many as a page holds: then with the cursor of the tasks' next page. `None`
/// where there's none of that id.
pub async fn workflow_get(db: &Db, id: Uuid) -> Result<Option<(String, Option<String>)>, DbError> {
    let Answer { json, note: next } = db.answer(&WORKFLOW_GET, vec![uuid(id)]).await?;
    Ok(json.map(|json| (json, next)))
}

/// A change of one workflow from the states allowed; the note says in which state it was otherwise.
/// `current` holds its row, locked, as it was.
macro_rules! workflow_change {
    ($($change:expr),+) => {
        sql![
            "WITH current AS (
                SELECT id, status FROM workflows WHERE id = $1::uuid FOR UPDATE
            ), ",
            $($change),+,
            " SELECT (SELECT row_to_json(workflow)::text FROM workflow),
                coalesce('refused ' || (SELECT status FROM current), 'absent')"
        ]
    };
}

macro_rules! workflow_returning {
    () => {
        "workflows.id, workflows.description, workflows.orchestrator_id, workflows.channel_id, workflows.status,
         workflows.execution_strategy, workflows.created_at, workflows.started_at, workflows.completed_at"
    };
}

pub(super) static WORKFLOW_DELETE: Statement = Statement {
    name: "workflow_delete",
    sql: workflow_change!(
        "workflow AS (
            DELETE FROM workflows USING current
            WHERE workflows.id = current.id AND workflows.status <> 'executing'
            RETURNING ",
        workflow_returning!(),
        ", 'Workflow ' || workflows.id || ' is deleted.' AS message)"
    ),
    access: Access::Indexes(&["workflows_pkey"]),
    max_rows: 1,
};

/// Deletes a workflow with its tasks; refused while it's executing.
pub async fn workflow_delete(db: &Db, id: Uuid) -> Result<Outcome, DbError> {
    Ok(db.answer(&WORKFLOW_DELETE, vec![uuid(id)]).await?.into())
}

pub(super) static WORKFLOW_START: Statement = Statement {
    name: "workflow_start",
    sql: workflow_change!(
        "workflow AS (
            UPDATE workflows
            SET status = 'executing', started_at = coalesce(workflows.started_at, now()), completed_at = NULL
            FROM current
            WHERE workflows.id = current.id AND workflows.status IN ('pending', 'planning', 'failed')
            RETURNING ",
        workflow_returning!(),
        ", 'Workflow ' || workflows.id || ' is ' || workflows.status || '.' AS message)"
    ),
    access: Access::Indexes(&["workflows_pkey"]),
    max_rows: 1,
};

/// Starts a workflow from pending, planning or failed; what failed is tried again.
pub async fn workflow_start(db: &Db, id: Uuid) -> Result<Outcome, DbError> {
    Ok(db.answer(&WORKFLOW_START, vec![uuid(id)]).await?.into())
}

pub(super) static WORKFLOW_CANCEL: Statement = Statement {
    name: "workflow_cancel",
    sql: workflow_change!(
        "workflow AS (
            UPDATE workflows SET status = 'cancelled', completed_at = now()
            FROM current
            WHERE workflows.id = current.id AND workflows.status = 'executing'
            RETURNING ",
        workflow_returning!(),
        ", 'Workflow ' || workflows.id || ' is cancelled; what was not done is skipped.' AS message)"
    ),
    access: Access::Indexes(&["workflows_pkey"]),
    max_rows: 1,
};

/// Cancels a workflow that's executing; its open tasks are skipped.
pub async fn workflow_cancel(db: &Db, id: Uuid) -> Result<Outcome, DbError> {
    Ok(db.answer(&WORKFLOW_CANCEL, vec![uuid(id)]).await?.into())
}
