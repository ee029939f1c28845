//! The routes under /api/tasks: their input, their responses, and one query for each.

use super::contract::{Kind, Operation, Parameter, answered, documented};
use super::input::Input;
use super::page::{CURSOR, DEFAULT_LIMIT, LIMIT, OFFSET, list};
use super::problem::ApiError;
use super::reply::{NOT_STORED, Reply, never, written};
use super::schemas;
use crate::db::Db;
use crate::queries::{Order, Page, tasks};

const ID: Parameter = Parameter::id("id", "The task's id.");

fn absent(input: &Input) -> ApiError {
    ApiError::not_found("task", "id", &input.uuid("id"))
}

pub static TASK_LIST: Operation = Operation {
    id: "task_list",
    path: "/api/tasks",
    summary: documented("Lists the tasks outside workflows, newest first."),
    parameters: &[
        Parameter {
            name: "status",
            kind: schemas::TASK_STATUS,
            about: documented("Only tasks with this status are returned."),
            default: None,
        },
        LIMIT,
        OFFSET,
        CURSOR,
    ],
    answer: answered(Kind::page(&Kind::Record(&schemas::TASK))),
    ..Operation::GET
};

pub async fn task_list(db: Db, input: Input) -> Result<Reply, ApiError> {
    let page = Page::of(&input, Order::Newest, DEFAULT_LIMIT);
    let items = tasks::task_list(&db, page, input.text("status")).await?;
    list(items, &input, ApiError::NoRoute)
}

pub static TASK_CREATE: Operation = Operation {
    id: "task_create",
    path: "/api/tasks",
    summary: documented("Creates a task outside workflows."),
    body: Some(&schemas::TASK_CREATE),
    answer: answered(Kind::Record(&schemas::TASK)),
    ..Operation::CREATE
};

pub async fn task_create(db: Db, mut input: Input) -> Result<Reply, ApiError> {
    let body = input.take_body();
    let outcome = tasks::task_create(&db, body).await?;
    Reply::created("/api/tasks", written(outcome, NOT_STORED, never)?)
}

pub static TASK_GET: Operation = Operation {
    id: "task_get",
    path: "/api/tasks/{id}",
    summary: documented("Returns a task outside workflows."),
    parameters: &[ID],
    answer: answered(Kind::Record(&schemas::TASK)),
    errors: &[404],
    ..Operation::GET
};

pub async fn task_get(db: Db, input: Input) -> Result<Reply, ApiError> {
    let task = tasks::task_get(&db, input.uuid("id")).await?;
    Ok(Reply::row(task.ok_or_else(|| absent(&input))?))
}

pub static TASK_UPDATE: Operation = Operation {
    id: "task_update",
    path: "/api/tasks/{id}",
    summary: documented("Updates the given fields of a task outside workflows."),
    parameters: &[ID],
    body: Some(&schemas::TASK_UPDATE),
    answer: answered(Kind::Record(&schemas::TASK)),
    errors: &[404, 412],
    ..Operation::PATCH
};

pub async fn task_update(db: Db, mut input: Input) -> Result<Reply, ApiError> {
    let body = input.take_body();
    let outcome = tasks::task_update(&db, input.uuid("id"), body, &input.if_match).await?;
    Ok(Reply::row(written(outcome, absent(&input), never)?))
}
