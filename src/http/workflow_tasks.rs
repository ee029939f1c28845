//! The routes for workflow tasks and for claiming one: their input, their responses, and one query for each.

use super::contract::{Kind, Operation, Parameter, answered, documented};
use super::input::Input;
use super::page::{CURSOR, DEFAULT_LIMIT, LIMIT, OFFSET, list};
use super::problem::ApiError;
use super::reply::{Reply, written};
use super::schemas;
use super::workflows::absent as workflow_absent;
use crate::db::Db;
use crate::queries::{Order, Outcome, Page, workflow_tasks};

const ID: Parameter = Parameter::id("id", "The workflow's id.");

const TASK_ID: Parameter = Parameter::id("task_id", "The task's id.");

fn absent(input: &Input) -> ApiError {
    ApiError::not_found("task of this workflow", "id", &input.uuid("task_id"))
}

pub static WORKFLOW_TASK_LIST: Operation = Operation {
    id: "workflow_task_list",
    path: "/api/workflows/{id}/tasks",
    summary: documented("Lists a workflow's tasks by position."),
    parameters: &[
        ID,
        Parameter {
            name: "status",
            kind: schemas::WORKFLOW_TASK_STATUS,
            about: documented("Only tasks with this status are returned."),
            default: None,
        },
        LIMIT,
        OFFSET,
        CURSOR,
    ],
    answer: answered(Kind::page(&Kind::Record(&schemas::WORKFLOW_TASK))),
    errors: &[404],
    ..Operation::GET
};

pub async fn workflow_task_list(db: Db, input: Input) -> Result<Reply, ApiError> {
    let page = Page::of(&input, Order::Place, DEFAULT_LIMIT);
    let (id, status) = (input.uuid("id"), input.text("status"));
    let items = workflow_tasks::workflow_task_list(&db, page, id, status).await?;
    list(items, &input, workflow_absent(&input))
}

pub static WORKFLOW_TASK_CREATE: Operation = Operation {
    id: "workflow_task_create",
    path: "/api/workflows/{id}/tasks",
    summary: documented("Adds a task to a workflow that is not completed or cancelled."),
    parameters: &[ID],
    body: Some(&schemas::WORKFLOW_TASK_CREATE),
    answer: answered(Kind::Record(&schemas::WORKFLOW_TASK)),
    errors: &[404, 409],
    ..Operation::CREATE
};

pub async fn workflow_task_create(db: Db, mut input: Input) -> Result<Reply, ApiError> {
    let body = input.take_body();
    let id = input.uuid("id");
    let outcome = workflow_tasks::workflow_task_create(&db, id, body).await?;
    let row = written(outcome, workflow_absent(&input), |state| {
        format!(
            "The workflow is {state}. A task can be added only to a pending, planning, executing or failed workflow."
        )
    })?;
    Reply::created(&format!("/api/workflows/{id}/tasks"), row)
}

pub static WORKFLOW_TASK_GET: Operation = Operation {
    id: "workflow_task_get",
    path: "/api/workflows/{id}/tasks/{task_id}",
    summary: documented("Returns a task of a workflow."),
    parameters: &[ID, TASK_ID],
    answer: answered(Kind::Record(&schemas::WORKFLOW_TASK)),
    errors: &[404],
    ..Operation::GET
};

pub async fn workflow_task_get(db: Db, input: Input) -> Result<Reply, ApiError> {
    let (id, task_id) = (input.uuid("id"), input.uuid("task_id"));
    let task = workflow_tasks::workflow_task_get(&db, id, task_id).await?;
    Ok(Reply::row(task.ok_or_else(|| absent(&input))?))
}

pub static WORKFLOW_TASK_UPDATE: Operation = Operation {
    id: "workflow_task_update",
    path: "/api/workflows/{id}/tasks/{task_id}",
    summary: documented("Updates the status, output or error of a workflow's task."),
    parameters: &[ID, TASK_ID],
    body: Some(&schemas::WORKFLOW_TASK_UPDATE),
    answer: answered(Kind::Record(&schemas::WORKFLOW_TASK)),
    errors: &[404, 409, 412],
    ..Operation::PATCH
};

pub async fn workflow_task_update(db: Db, mut input: Input) -> Result<Reply, ApiError> {
    let (id, task_id) = (input.uuid("id"), input.uuid("task_id"));
    let body = input.take_body();
    let outcome =
        workflow_tasks::workflow_task_update(&db, id, task_id, body, &input.if_match).await?;
    let row = written(outcome, absent(&input), |state| {
        format!(
            "The task is {state}, which does not allow this update. Only a ready task can become in_progress. Only an in_progress \
             task can become completed or failed, or get an output or error without a new status. Only a pending, ready or \
             in_progress task can become skipped. A pending task becomes ready automatically."
        )
    })?;
    Ok(Reply::row(row))
}

pub static WORKFLOW_TASK_CLAIM: Operation = Operation {
    id: "workflow_task_claim",
    path: "/api/workflow-tasks/claim",
    summary: documented(
        "Claims the next ready task for an agent, preferably a task assigned to it, otherwise an unassigned task; returns 204 if there is none.",
    ),
    body: Some(&schemas::WORKFLOW_TASK_CLAIM),
    answer: answered(Kind::Record(&schemas::WORKFLOW_TASK)),
    errors: &[204, 409],
    ..Operation::POST
};

pub async fn workflow_task_claim(db: Db, input: Input) -> Result<Reply, ApiError> {
    let agent_id = input.body_uuid("agent_id").unwrap_or_default();
    let workflow_id = input.body_uuid("workflow_id");
    match workflow_tasks::workflow_task_claim(&db, agent_id, workflow_id).await? {
        Outcome::Absent => Ok(Reply::nothing()),
        outcome => {
            let row = written(outcome, absent(&input), |state| {
                format!("The agent is {state}. Only an active agent can claim tasks.")
            })?;
            Ok(Reply::row(row))
        }
    }
}
