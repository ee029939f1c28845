//! The routes under /api/workflows, except for tasks: their input, their responses, and one query for each route.

use uuid::Uuid;

use super::contract::Operation;
use super::input::Input;
use super::page::list;
use super::parameters::{Parameters as _, parameters};
use super::problem::ApiError;
use super::reply::{NOT_STORED, Reply, written};
use crate::db::Db;
use crate::queries::{Order, workflows};
use crate::schema;
use crate::schema::{FieldType, Parameter};

pub(super) const ID: Parameter = Parameter::new(FieldType::Uuid, "The workflow's id.");

parameters! {
    WorkflowId {
        id: Uuid = ID,
    }
}

pub(super) fn absent(id: Uuid) -> ApiError {
    ApiError::not_found("workflow", "id", &id)
}

parameters! {
    WorkflowListParameters {
        ..list(schema::workflows::WORKFLOW_LIST, "50")
    }
}

pub static WORKFLOW_LIST: Operation = Operation {
    id: "workflow_list",
    path: "/api/workflows",
    summary: "Lists workflows, newest first.",
    parameters: WorkflowListParameters::TABLE,
    answer: FieldType::page(&FieldType::Record(&schema::workflows::WORKFLOW)),
    ..Operation::GET
};

pub async fn workflow_list(
    db: Db,
    input: Input<WorkflowListParameters>,
) -> Result<Reply, ApiError> {
    let page = input.page(Order::Newest);
    let items = workflows::workflow_list(&db, page).await?;
    list(items, &input.uri, ApiError::NoRoute)
}

pub static WORKFLOW_CREATE: Operation = Operation {
    id: "workflow_create",
    path: "/api/workflows",
    summary: "Creates a workflow with its first tasks.",
    body: Some(&schema::workflows::WORKFLOW_CREATE),
    answer: FieldType::Record(&schema::workflows::WORKFLOW_WITH_TASKS),
    errors: &[409],
    ..Operation::CREATE
};

pub async fn workflow_create(db: Db, input: Input) -> Result<Reply, ApiError> {
    let outcome = workflows::workflow_create(&db, input.body).await?;
    let row = written(outcome, NOT_STORED, |_| {
        "There is no active agent of the type orchestrator. Send an orchestrator_id, or activate such an agent."
            .to_owned()
    })?;
    Ok(Reply::created("/api/workflows", row))
}

pub static WORKFLOW_GET: Operation = Operation {
    id: "workflow_get",
    path: "/api/workflows/{id}",
    summary: "Returns a workflow with its tasks; if the tasks do not fit on one page, the Link header leads to the next page.",
    parameters: WorkflowId::TABLE,
    answer: FieldType::Record(&schema::workflows::WORKFLOW_WITH_TASKS),
    errors: &[404],
    ..Operation::GET
};

pub async fn workflow_get(db: Db, input: Input<WorkflowId>) -> Result<Reply, ApiError> {
    let WorkflowId { id } = input.parameters;
    let workflow = workflows::workflow_get(&db, id).await?;
    let (workflow, next) = workflow.ok_or_else(|| absent(id))?;
    let reply = Reply::row(workflow);
    Ok(match next {
        None => reply,
        Some(cursor) => reply.with_next(&format!("/api/workflows/{id}/tasks?cursor={cursor}")),
    })
}

pub static WORKFLOW_DELETE: Operation = Operation {
    id: "workflow_delete",
    path: "/api/workflows/{id}",
    summary: "Deletes a workflow with its tasks, unless it is executing.",
    parameters: WorkflowId::TABLE,
    answer: FieldType::Record(&schema::workflows::WORKFLOW_ACTION),
    errors: &[404, 409, 412],
    ..Operation::DELETE
};

pub async fn workflow_delete(db: Db, input: Input<WorkflowId>) -> Result<Reply, ApiError> {
    let WorkflowId { id } = input.parameters;
    let outcome = workflows::workflow_delete(&db, id, &input.if_match).await?;
    let row = written(outcome, absent(id), |state| {
        format!("The workflow is {state}. Cancel it before you delete it.")
    })?;
    Ok(Reply::row(row))
}

pub static WORKFLOW_START: Operation = Operation {
    id: "workflow_start",
    path: "/api/workflows/{id}/start",
    summary: "Starts a pending, planning or failed workflow; its failed tasks are retried.",
    parameters: WorkflowId::TABLE,
    answer: FieldType::Record(&schema::workflows::WORKFLOW_ACTION),
    errors: &[404, 409, 412],
    ..Operation::POST
};

pub async fn workflow_start(db: Db, input: Input<WorkflowId>) -> Result<Reply, ApiError> {
    let WorkflowId { id } = input.parameters;
    let outcome = workflows::workflow_start(&db, id, &input.if_match).await?;
    let row = written(outcome, absent(id), |state| {
        format!(
            "The workflow is {state}. Only a pending, planning or failed workflow can be started."
        )
    })?;
    Ok(Reply::row(row))
}

pub static WORKFLOW_CANCEL: Operation = Operation {
    id: "workflow_cancel",
    path: "/api/workflows/{id}/cancel",
    summary: "Cancels an executing workflow; its open tasks are skipped.",
    parameters: WorkflowId::TABLE,
    answer: FieldType::Record(&schema::workflows::WORKFLOW_ACTION),
    errors: &[404, 409, 412],
    ..Operation::POST
};

pub async fn workflow_cancel(db: Db, input: Input<WorkflowId>) -> Result<Reply, ApiError> {
    let WorkflowId { id } = input.parameters;
    let outcome = workflows::workflow_cancel(&db, id, &input.if_match).await?;
    let row = written(outcome, absent(id), |state| {
        format!("The workflow is {state}. Only an executing workflow can be cancelled.")
    })?;
    Ok(Reply::row(row))
}
