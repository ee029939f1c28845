//! The routes below /api/workflows but for its tasks: what they take and give, and one query for each.

use serde_json::{Map, Value};

use super::contract::{Fault, Kind, MOST_FAULTS, Operation, Parameter, Place};
use super::input::Input;
use super::page::{CURSOR, DEFAULT_LIMIT, LIMIT, OFFSET, Order, list};
use super::problem::ApiError;
use super::reply::{Reply, written};
use super::schemas;
use crate::db::Db;
use crate::queries::{Page, workflows};

const ID: Parameter = Parameter::id("id", "The workflow's id.");

pub(super) fn absent(input: &Input) -> ApiError {
    ApiError::not_found("workflow", "id", &input.uuid("id"))
}

pub static WORKFLOW_LIST: Operation = Operation {
    id: "workflow_list",
    path: "/api/workflows",
    summary: "The workflows, newest first.",
    parameters: &[
        Parameter {
            name: "status",
            kind: schemas::WORKFLOW_STATUS,
            about: "Only workflows in this state.",
            default: None,
        },
        Parameter {
            name: "channel_id",
            kind: Kind::Uuid,
            about: "Only workflows of this channel.",
            default: None,
        },
        LIMIT,
        OFFSET,
        CURSOR,
    ],
    answer: Kind::page(&Kind::Record(&schemas::WORKFLOW)),
    ..Operation::GET
};

pub async fn workflow_list(db: Db, input: Input) -> Result<Reply, ApiError> {
    let page = Page::of(&input, Order::Descending, DEFAULT_LIMIT);
    let channel_id = input.text("channel_id").map(|_| input.uuid("channel_id"));
    let items = workflows::workflow_list(&db, page, channel_id, input.text("status")).await?;
    list(items, &input, ApiError::NoRoute)
}

pub static WORKFLOW_CREATE: Operation = Operation {
    id: "workflow_create",
    path: "/api/workflows",
    summary: "Makes a workflow, with its first tasks.",
    body: Some(&schemas::WORKFLOW_CREATE),
    answer: Kind::Record(&schemas::WORKFLOW_WITH_TASKS),
    errors: &[409],
    ..Operation::CREATE
};

pub async fn workflow_create(db: Db, input: Input) -> Result<Reply, ApiError> {
    let faults = forward_dependencies(input.body());
    if !faults.is_empty() {
        return Err(ApiError::Invalid(faults));
    }
    let outcome = workflows::workflow_create(&db, input.body_json()).await?;
    let row = written(outcome, absent(&input), |_| {
        "There is no active orchestrator: name one in orchestrator_id, or make an agent of the type orchestrator active."
            .to_owned()
    })?;
    Reply::created("/api/workflows", row)
}

/// Dependencies that aren't earlier tasks of the list: only those can't go round in circles.
fn forward_dependencies(body: &Map<String, Value>) -> Vec<Fault> {
    let list = |value: Option<&Value>| value.and_then(Value::as_array).cloned().unwrap_or_default();
    let mut faults = Vec::new();
    for (task_index, task) in list(body.get("tasks")).iter().enumerate() {
        for (index, position) in list(task.get("depends_on")).iter().enumerate() {
            let earlier = position
                .as_u64()
                .is_some_and(|position| position < task_index as u64);
            if !earlier && faults.len() < MOST_FAULTS {
                faults.push(Fault {
                    place: Place::Pointer(format!("/tasks/{task_index}/depends_on/{index}")),
                    detail: "It must be the place of an earlier task in this list.".into(),
                });
            }
        }
    }
    faults
}

pub static WORKFLOW_GET: Operation = Operation {
    id: "workflow_get",
    path: "/api/workflows/{id}",
    summary: "One workflow with its tasks.",
    parameters: &[ID],
    answer: Kind::Record(&schemas::WORKFLOW_WITH_TASKS),
    errors: &[404],
    ..Operation::GET
};

pub async fn workflow_get(db: Db, input: Input) -> Result<Reply, ApiError> {
    let workflow = workflows::workflow_get(&db, input.uuid("id")).await?;
    Ok(Reply::ok(workflow.ok_or_else(|| absent(&input))?))
}

pub static WORKFLOW_DELETE: Operation = Operation {
    id: "workflow_delete",
    path: "/api/workflows/{id}",
    summary: "Deletes a workflow with its tasks, unless it's executing.",
    parameters: &[ID],
    answer: Kind::Record(&schemas::WORKFLOW_ACTION),
    errors: &[404, 409],
    ..Operation::DELETE
};

pub async fn workflow_delete(db: Db, input: Input) -> Result<Reply, ApiError> {
    let outcome = workflows::workflow_delete(&db, input.uuid("id")).await?;
    let row = written(outcome, absent(&input), |state| {
        format!("The workflow is {state}: cancel it before it's deleted.")
    })?;
    Ok(Reply::ok(row))
}

pub static WORKFLOW_START: Operation = Operation {
    id: "workflow_start",
    path: "/api/workflows/{id}/start",
    summary: "Starts a workflow that's pending, planning or failed; what failed is tried again.",
    parameters: &[ID],
    answer: Kind::Record(&schemas::WORKFLOW_ACTION),
    errors: &[404, 409],
    ..Operation::POST
};

pub async fn workflow_start(db: Db, input: Input) -> Result<Reply, ApiError> {
    let outcome = workflows::workflow_start(&db, input.uuid("id")).await?;
    let row = written(outcome, absent(&input), |state| {
        format!("The workflow is {state}; it can be started when it's pending, planning or failed.")
    })?;
    Ok(Reply::ok(row))
}

pub static WORKFLOW_CANCEL: Operation = Operation {
    id: "workflow_cancel",
    path: "/api/workflows/{id}/cancel",
    summary: "Cancels a workflow that's executing; its open tasks are skipped.",
    parameters: &[ID],
    answer: Kind::Record(&schemas::WORKFLOW_ACTION),
    errors: &[404, 409],
    ..Operation::POST
};

pub async fn workflow_cancel(db: Db, input: Input) -> Result<Reply, ApiError> {
    let outcome = workflows::workflow_cancel(&db, input.uuid("id")).await?;
    let row = written(outcome, absent(&input), |state| {
        format!("The workflow is {state}; it can be cancelled while it's executing.")
    })?;
    Ok(Reply::ok(row))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_depends_on_earlier_ones_only() {
        let body = serde_json::json!({"tasks": [
            {"depends_on": [0]}, {"depends_on": [0, 2]}, {"depends_on": [0, 1]}, {}]});
        let faults = forward_dependencies(body.as_object().unwrap());
        let places: Vec<_> = faults.into_iter().map(|fault| fault.place).collect();
        let pointer = |text: &str| Place::Pointer(text.to_owned());
        assert_eq!(
            places,
            [
                pointer("/tasks/0/depends_on/0"),
                pointer("/tasks/1/depends_on/1")
            ]
        );
    }
}
