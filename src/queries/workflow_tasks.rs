//! Statements on the table `workflow_tasks`. The functions return JSON text and don't depend on HTTP.
//!
//! A statement that changes a task's state locks its workflow's row first, as `queries/workflows.rs` explains. A claim doesn't lock the workflow's
//! row, because a claim changes only the claimed task.

use std::sync::LazyLock;

use constcat::concat;
use uuid::Uuid;

use super::list::{Items, List, ListOf, Order, Page, Parent, items};
use super::row::{IfMatch, Row, row, tag, tag_matches, written};
use super::{Outcome, text, uuid};
use crate::db::{Access, Db, DbError, Effect, Statement};
use crate::schema::workflow_tasks;

pub(super) static WORKFLOW_TASK_LIST: LazyLock<List> = LazyLock::new(|| {
    List::new(ListOf {
        name: "workflow_task_list",
        table: "workflow_tasks",
        columns: workflow_tasks::COLUMNS,
        text_bytes: Some(TEXT_BYTES),
        parent: Some(Parent {
            table: "workflows",
            index: &["workflows_pkey"],
            column: Some("workflow_id"),
        }),
        order: Order::Position,
        filters: &workflow_tasks::WORKFLOW_TASK_LIST,
        ..ListOf::ROWS
    })
});

/// SQL for the total length of a task's long texts in bytes.
pub(super) const TEXT_BYTES: &str = "octet_length(stored.description) + coalesce(octet_length(stored.output), 0) + coalesce(octet_length(stored.error), 0)";

/// Lists a workflow's tasks, sorted by `order_index`; `None` if there is no such workflow.
pub async fn workflow_task_list(
    db: &Db,
    page: Page,
    workflow_id: Uuid,
) -> Result<Option<Items>, DbError> {
    items(db, &WORKFLOW_TASK_LIST, page, Some(workflow_id)).await
}

pub(super) static WORKFLOW_TASK_CREATE: Statement = Statement {
    name: "workflow_task_create",
    sql: constcat::concat![
        "WITH new AS (SELECT * FROM jsonb_to_record($2::text::jsonb) AS new(",
        workflow_tasks::NEW,
        ")
        ), workflow AS (
            SELECT id, status FROM public.workflows WHERE id = $1::uuid FOR UPDATE
        ), dangling AS (
            SELECT FROM new, unnest(depends_on) AS needed(id)
            WHERE NOT EXISTS (SELECT FROM public.workflow_tasks
                              WHERE workflow_tasks.id = needed.id AND workflow_tasks.workflow_id = $1::uuid)
        ), workflow_task AS (
            INSERT INTO public.workflow_tasks (workflow_id, ",
        workflow_tasks::CREATED,
        ") SELECT workflow.id, ",
        workflow_tasks::VALUES,
        "
            FROM new, workflow
            WHERE workflow.status IN ('pending', 'planning', 'executing', 'failed')
              AND NOT EXISTS (SELECT FROM dangling)
            RETURNING ",
        workflow_tasks::COLUMNS,
        ")",
        written!(
            created: "workflow_task",
            otherwise: "CASE WHEN NOT EXISTS (SELECT FROM workflow) THEN 'absent'
                WHEN (SELECT status FROM workflow) IN ('completed', 'cancelled')
                THEN 'refused ' || (SELECT status FROM workflow)
                ELSE 'dangling' END"
        )
    ],
    effect: Effect::Writes(&["workflow_tasks"]),
    access: Access::IndexesAndOneOf(
        &["workflows_pkey"],
        &[
            "workflow_tasks_pkey",
            "idx_workflow_tasks_workflow_id",
            "idx_workflow_tasks_workflow_status",
        ],
    ),
    max_rows: 1,
};

/// Creates a task of a workflow. `body` is the validated JSON object with its fields. Returns `Refused` if the workflow is completed or cancelled.
pub async fn workflow_task_create(
    db: &Db,
    workflow_id: Uuid,
    body: String,
) -> Result<Outcome, DbError> {
    let parameters = vec![uuid(workflow_id), text(body)];
    Ok(db.answer(&WORKFLOW_TASK_CREATE, parameters).await?.into())
}

pub(super) static WORKFLOW_TASK_GET: Statement = Statement {
    name: "workflow_task_get",
    sql: row!(
        workflow_tasks::COLUMNS,
        "public.workflow_tasks WHERE id = $2::uuid AND workflow_id = $1::uuid"
    ),
    effect: Effect::Reads,
    access: Access::Indexes(&["workflow_tasks_pkey"]),
    max_rows: 1,
};

/// Returns one task of a workflow; `None` if the workflow has no task with that id.
pub async fn workflow_task_get(
    db: &Db,
    workflow_id: Uuid,
    id: Uuid,
) -> Result<Option<Row>, DbError> {
    let parameters = vec![uuid(workflow_id), uuid(id)];
    let answer = db.answer(&WORKFLOW_TASK_GET, parameters).await?;
    Ok(Row::of(answer))
}

pub(super) static WORKFLOW_TASK_UPDATE: Statement = Statement {
    name: "workflow_task_update",
    sql: constcat::concat![
        "WITH patch AS (
            SELECT members, members ->> 'status' AS new_status FROM (SELECT $3::text::jsonb AS members) AS given
        ), workflow AS (
            SELECT id FROM public.workflows WHERE id = $1::uuid FOR UPDATE
        ), current AS (
            SELECT workflow_tasks.*
            FROM workflow JOIN public.workflow_tasks ON workflow_tasks.workflow_id = workflow.id
            WHERE workflow_tasks.id = $2::uuid FOR UPDATE OF workflow_tasks
        ), seen AS (
            SELECT ",
        tag!("row_to_json(item)::text"),
        " AS tag FROM current, LATERAL (SELECT ",
        workflow_tasks::COLUMNS,
        ") AS item
        ), workflow_task AS (
            UPDATE public.workflow_tasks SET ",
        workflow_tasks::CHANGES,
        ",
                started_at = CASE WHEN new_status = 'in_progress' THEN now() ELSE started_at END,
                completed_at = CASE WHEN new_status IN ('completed', 'failed', 'skipped') THEN now()
                                    ELSE completed_at END
            FROM patch
            WHERE id = (SELECT id FROM current) AND CASE coalesce(new_status, 'report')
                WHEN 'in_progress' THEN status = 'ready'
                WHEN 'skipped' THEN status IN ('pending', 'ready', 'in_progress')
                ELSE status = 'in_progress' END AND ",
        tag_matches!("$4::text"),
        " RETURNING ",
        workflow_tasks::COLUMNS,
        ")",
        written!(
            row: "workflow_task",
            otherwise: concat!(
                "CASE WHEN NOT EXISTS (SELECT FROM current) THEN 'absent'
                    WHEN NOT ",
                tag_matches!("$4::text"),
                " THEN 'stale ' || (SELECT tag FROM seen)
                    ELSE 'refused ' || (SELECT status FROM current) END"
            )
        )
    ],
    effect: Effect::Writes(&["workflow_tasks"]),
    access: Access::Indexes(&["workflows_pkey", "workflow_tasks_pkey"]),
    max_rows: 1,
};

/// Updates a task's state, output or error. Returns `Refused` if the task's current state doesn't allow the update.
pub async fn workflow_task_update(
    db: &Db,
    workflow_id: Uuid,
    id: Uuid,
    body: String,
    if_match: &IfMatch,
) -> Result<Outcome, DbError> {
    let parameters = vec![
        uuid(workflow_id),
        uuid(id),
        text(body),
        if_match.parameter(),
    ];
    Ok(db.answer(&WORKFLOW_TASK_UPDATE, parameters).await?.into())
}

/// Claims a ready task. SKIP LOCKED lets concurrent claims take different tasks without waiting.
///
/// The statement sorts by NULLS FIRST, because only the table's indexes for claims have this order. With the default order, PostgreSQL might read the
/// whole index `idx_workflow_tasks_order` until it finds a ready task. `agent_id` comes first in the order, because PostgreSQL doesn't treat
/// `agent_id IS NULL` as an equality.
macro_rules! workflow_task_claim {
    ($condition:literal, $no_workflow:literal) => {
        constcat::concat![
            "WITH agent AS (
                SELECT id, is_active FROM public.agents WHERE id = $1::uuid
            ), own AS (
                SELECT id FROM public.workflow_tasks
                WHERE status = 'ready' AND agent_id = (SELECT id FROM agent WHERE is_active)",
            $condition,
            "   ORDER BY agent_id, order_index NULLS FIRST, id NULLS FIRST LIMIT 1 FOR UPDATE SKIP LOCKED
            ), anyones AS (
                SELECT id FROM public.workflow_tasks
                WHERE status = 'ready' AND agent_id IS NULL
                  AND EXISTS (SELECT FROM agent WHERE is_active) AND NOT EXISTS (SELECT FROM own)",
            $condition,
            "   ORDER BY agent_id, order_index NULLS FIRST, id NULLS FIRST LIMIT 1 FOR UPDATE SKIP LOCKED
            ), workflow_task AS (
                UPDATE public.workflow_tasks SET status = 'in_progress', started_at = now(), agent_id = $1::uuid,
                    is_anyones = agent_id IS NULL
                WHERE id = (SELECT id FROM own UNION ALL SELECT id FROM anyones LIMIT 1)
                RETURNING ",
            workflow_tasks::COLUMNS,
            ")",
            written!(
                row: "workflow_task",
                otherwise: concat!(
                    "CASE WHEN NOT EXISTS (SELECT FROM agent)",
                    $no_workflow,
                    " THEN 'dangling'
                         WHEN (SELECT NOT is_active FROM agent) THEN 'refused inactive'
                         ELSE 'absent' END"
                )
            )
        ]
    };
}

pub(super) static WORKFLOW_TASK_CLAIM: Statement = Statement {
    name: "workflow_task_claim",
    sql: workflow_task_claim!("", ""),
    effect: Effect::Writes(&["workflow_tasks"]),
    access: Access::Indexes(&[
        "idx_workflow_tasks_status",
        "workflow_tasks_pkey",
        "agents_pkey",
    ]),
    max_rows: 1,
};

pub(super) static WORKFLOW_TASK_CLAIM_WORKFLOW: Statement = Statement {
    name: "workflow_task_claim_workflow",
    sql: workflow_task_claim!(
        " AND workflow_id = $2::uuid",
        " OR NOT EXISTS (SELECT FROM public.workflows WHERE id = $2::uuid)"
    ),
    effect: Effect::Writes(&["workflow_tasks"]),
    access: Access::Indexes(&[
        "workflow_tasks_ready_idx",
        "workflow_tasks_pkey",
        "agents_pkey",
        "workflows_pkey",
    ]),
    max_rows: 1,
};

/// Claims the next ready task for an agent, in one workflow or in all. Prefers tasks assigned to the agent to unassigned tasks. Returns `Absent` if
/// no task is ready for the agent.
pub async fn workflow_task_claim(
    db: &Db,
    agent_id: Uuid,
    workflow_id: Option<Uuid>,
) -> Result<Outcome, DbError> {
    let statement = match workflow_id {
        None => &WORKFLOW_TASK_CLAIM,
        Some(_) => &WORKFLOW_TASK_CLAIM_WORKFLOW,
    };
    let parameters = [agent_id]
        .into_iter()
        .chain(workflow_id)
        .map(uuid)
        .collect();
    Ok(db.answer(statement, parameters).await?.into())
}
