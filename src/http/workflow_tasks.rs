//! The routes for workflow tasks and for claiming one: their input, their responses, and one query for each route.

use serde::Deserialize;
use uuid::Uuid;

use super::contract::Operation;
use super::input::Input;
use super::page::list;
use super::parameters::{Parameters as _, parameters};
use super::problem::ApiError;
use super::reply::{NOT_STORED, Reply, written};
use super::workflows::{ID, WorkflowId, absent as workflow_absent};
use crate::db::Db;
use crate::queries::{Order, Outcome, workflow_tasks};
use crate::schema;
use crate::schema::{FieldType, Parameter};

parameters! {
    WorkflowTaskId {
        id: Uuid = ID,
        task_id: Uuid = Parameter::new(FieldType::Uuid, "The task's id."),
    }
}

fn absent(task_id: Uuid) -> ApiError {
    ApiError::not_found("task of this workflow", "id", &task_id)
}

parameters! {
    WorkflowTaskListParameters {
        id: Uuid = ID,
        ..list(schema::workflow_tasks::WORKFLOW_TASK_LIST, "50")
    }
}

pub static WORKFLOW_TASK_LIST: Operation = Operation {
    id: "workflow_task_list",
    path: "/api/workflows/{id}/tasks",
    summary: "Lists a workflow's tasks by position.",
    parameters: WorkflowTaskListParameters::TABLE,
    answer: FieldType::page(&FieldType::Record(&schema::workflow_tasks::WORKFLOW_TASK)),
    errors: &[404],
    ..Operation::GET
};

pub async fn workflow_task_list(
    db: Db,
    input: Input<WorkflowTaskListParameters>,
) -> Result<Reply, ApiError> {
    let page = input.page(Order::Position);
    let id = input.parameters.id;
    let items = workflow_tasks::workflow_task_list(&db, page, id).await?;
    list(items, &input.uri, workflow_absent(id))
}

pub static WORKFLOW_TASK_CREATE: Operation = Operation {
    id: "workflow_task_create",
    path: "/api/workflows/{id}/tasks",
    summary: "Adds a task to a workflow that is not completed or cancelled.",
    parameters: WorkflowId::TABLE,
    body: Some(&schema::workflow_tasks::WORKFLOW_TASK_CREATE),
    answer: FieldType::Record(&schema::workflow_tasks::WORKFLOW_TASK),
    errors: &[404, 409],
    ..Operation::CREATE
};

pub async fn workflow_task_create(db: Db, input: Input<WorkflowId>) -> Result<Reply, ApiError> {
    let WorkflowId { id } = input.parameters;
    let outcome = workflow_tasks::workflow_task_create(&db, id, input.body).await?;
    let row = written(outcome, workflow_absent(id), |state| {
        format!(
            "The workflow is {state}. A task can be added only to a pending, planning, executing or failed workflow."
        )
    })?;
    Ok(Reply::created(&format!("/api/workflows/{id}/tasks"), row))
}

pub static WORKFLOW_TASK_GET: Operation = Operation {
    id: "workflow_task_get",
    path: "/api/workflows/{id}/tasks/{task_id}",
    summary: "Returns a task of a workflow.",
    parameters: WorkflowTaskId::TABLE,
    answer: FieldType::Record(&schema::workflow_tasks::WORKFLOW_TASK),
    errors: &[404],
    ..Operation::GET
};

pub async fn workflow_task_get(db: Db, input: Input<WorkflowTaskId>) -> Result<Reply, ApiError> {
    let WorkflowTaskId { id, task_id } = input.parameters;
    let task = workflow_tasks::workflow_task_get(&db, id, task_id).await?;
    Ok(Reply::row(task.ok_or_else(|| absent(task_id))?))
}

pub static WORKFLOW_TASK_UPDATE: Operation = Operation {
    id: "workflow_task_update",
    path: "/api/workflows/{id}/tasks/{task_id}",
    summary: "Updates the status, output or error of a workflow's task.",
    parameters: WorkflowTaskId::TABLE,
    body: Some(&schema::workflow_tasks::WORKFLOW_TASK_UPDATE),
    answer: FieldType::Record(&schema::workflow_tasks::WORKFLOW_TASK),
    errors: &[404, 409, 412],
    ..Operation::PATCH
};

pub async fn workflow_task_update(db: Db, input: Input<WorkflowTaskId>) -> Result<Reply, ApiError> {
    let WorkflowTaskId { id, task_id } = input.parameters;
    let outcome =
        workflow_tasks::workflow_task_update(&db, id, task_id, input.body, &input.if_match).await?;
    let row = written(outcome, absent(task_id), |state| {
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
    summary: "Claims the next ready task for an agent, preferably a task assigned to it, otherwise an unassigned task; returns 204 if there is none.",
    body: Some(&schema::workflow_tasks::WORKFLOW_TASK_CLAIM),
    answer: FieldType::Record(&schema::workflow_tasks::WORKFLOW_TASK),
    errors: &[204, 409],
    ..Operation::POST
};

/// The body of a claim.
#[derive(Deserialize)]
struct Claim {
    agent_id: Uuid,
    workflow_id: Option<Uuid>,
}

pub async fn workflow_task_claim(db: Db, input: Input) -> Result<Reply, ApiError> {
    let Claim {
        agent_id,
        workflow_id,
    } = input.body_as()?;
    match workflow_tasks::workflow_task_claim(&db, agent_id, workflow_id).await? {
        Outcome::Absent => Ok(Reply::nothing()),
        outcome => {
            let row = written(outcome, NOT_STORED, |state| {
                format!("The agent is {state}. Only an active agent can claim tasks.")
            })?;
            Ok(Reply::row(row))
        }
    }
}
