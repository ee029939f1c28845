//! The routes under /api/workflows, except for tasks: their input, their responses, and one query for each.

use super::contract::{Kind, Operation, Parameter, answered, documented};
use super::input::Input;
use super::page::{CURSOR, DEFAULT_LIMIT, LIMIT, OFFSET, list};
use super::problem::ApiError;
use super::reply::{Reply, written};
use super::schemas;
use crate::db::Db;
use crate::queries::{Order, Page, workflows};

const ID: Parameter = Parameter::id("id", "The workflow's id.");

pub(super) fn absent(input: &Input) -> ApiError {
    ApiError::not_found("workflow", "id", &input.uuid("id"))
}

pub static WORKFLOW_LIST: Operation = Operation {
    id: "workflow_list",
    path: "/api/workflows",
    summary: documented("Lists workflows, newest first."),
    parameters: &[
        Parameter {
            name: "status",
            kind: schemas::WORKFLOW_STATUS,
            about: documented("Only workflows with this status are returned."),
            default: None,
        },
        Parameter {
            name: "channel_id",
            kind: Kind::Uuid,
            about: documented("Only workflows of this channel are returned."),
            default: None,
        },
        LIMIT,
        OFFSET,
        CURSOR,
    ],
    answer: answered(Kind::page(&Kind::Record(&schemas::WORKFLOW))),
    ..Operation::GET
};

pub async fn workflow_list(db: Db, input: Input) -> Result<Reply, ApiError> {
    let page = Page::of(&input, Order::Newest, DEFAULT_LIMIT);
    let channel_id = input.text("channel_id").map(|_| input.uuid("channel_id"));
    let items = workflows::workflow_list(&db, page, channel_id, input.text("status")).await?;
    list(items, &input, ApiError::NoRoute)
}

pub static WORKFLOW_CREATE: Operation = Operation {
    id: "workflow_create",
    path: "/api/workflows",
    summary: documented("Creates a workflow with its first tasks."),
    body: Some(&schemas::WORKFLOW_CREATE),
    answer: answered(Kind::Record(&schemas::WORKFLOW_WITH_TASKS)),
    errors: &[409],
    ..Operation::CREATE
};

pub async fn workflow_create(db: Db, mut input: Input) -> Result<Reply, ApiError> {
    let body = input.take_body();
    let outcome = workflows::workflow_create(&db, body).await?;
    let row = written(outcome, absent(&input), |_| {
        "There is no active agent of the type orchestrator. Send an orchestrator_id, or activate such an agent."
            .to_owned()
    })?;
    Reply::created("/api/workflows", row)
}

pub static WORKFLOW_GET: Operation = Operation {
    id: "workflow_get",
    path: "/api/workflows/{id}",
    summary: documented(
        "Returns a workflow with its tasks; if they exceed the size of a page, Link leads to the remaining tasks.",
    ),
    parameters: &[ID],
    answer: answered(Kind::Record(&schemas::WORKFLOW_WITH_TASKS)),
    errors: &[404],
    ..Operation::GET
};

pub async fn workflow_get(db: Db, input: Input) -> Result<Reply, ApiError> {
    let id = input.uuid("id");
    let workflow = workflows::workflow_get(&db, id).await?;
    let (workflow, next) = workflow.ok_or_else(|| absent(&input))?;
    let reply = Reply::row(workflow);
    Ok(match next {
        None => reply,
        Some(cursor) => reply.with_next(&format!("/api/workflows/{id}/tasks?cursor={cursor}")),
    })
}

pub static WORKFLOW_DELETE: Operation = Operation {
    id: "workflow_delete",
    path: "/api/workflows/{id}",
    summary: documented("Deletes a workflow with its tasks, unless it is executing."),
    parameters: &[ID],
    answer: answered(Kind::Record(&schemas::WORKFLOW_ACTION)),
    errors: &[404, 409, 412],
    ..Operation::DELETE
};

pub async fn workflow_delete(db: Db, input: Input) -> Result<Reply, ApiError> {
    let outcome = workflows::workflow_delete(&db, input.uuid("id"), &input.if_match).await?;
    let row = written(outcome, absent(&input), |state| {
        format!("The workflow is {state}. Cancel it before you delete it.")
    })?;
    Ok(Reply::row(row))
}

pub static WORKFLOW_START: Operation = Operation {
    id: "workflow_start",
    path: "/api/workflows/{id}/start",
    summary: documented(
        "Starts a pending, planning or failed workflow; its failed tasks are retried.",
    ),
    parameters: &[ID],
    answer: answered(Kind::Record(&schemas::WORKFLOW_ACTION)),
    errors: &[404, 409, 412],
    ..Operation::POST
};

pub async fn workflow_start(db: Db, input: Input) -> Result<Reply, ApiError> {
    let outcome = workflows::workflow_start(&db, input.uuid("id"), &input.if_match).await?;
    let row = written(outcome, absent(&input), |state| {
        format!(
            "The workflow is {state}. Only a pending, planning or failed workflow can be started."
        )
    })?;
    Ok(Reply::row(row))
}

pub static WORKFLOW_CANCEL: Operation = Operation {
    id: "workflow_cancel",
    path: "/api/workflows/{id}/cancel",
    summary: documented("Cancels an executing workflow; its open tasks are skipped."),
    parameters: &[ID],
    answer: answered(Kind::Record(&schemas::WORKFLOW_ACTION)),
    errors: &[404, 409, 412],
    ..Operation::POST
};

pub async fn workflow_cancel(db: Db, input: Input) -> Result<Reply, ApiError> {
    let outcome = workflows::workflow_cancel(&db, input.uuid("id"), &input.if_match).await?;
    let row = written(outcome, absent(&input), |state| {
        format!("The workflow is {state}. Only an executing workflow can be cancelled.")
    })?;
    Ok(Reply::row(row))
}
