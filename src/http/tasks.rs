//! The routes under /api/tasks: their input, their responses, and one query for each route.

use uuid::Uuid;

use super::contract::Operation;
use super::input::Input;
use super::page::list;
use super::parameters::{Parameters as _, parameters};
use super::problem::ApiError;
use super::reply::{NOT_STORED, Reply, never, written};
use crate::db::Db;
use crate::queries::{Order, tasks};
use crate::schema;
use crate::schema::{FieldType, Parameter};

parameters! {
    TaskId {
        id: Uuid = Parameter::new(FieldType::Uuid, "The task's id."),
    }
}

fn absent(id: Uuid) -> ApiError {
    ApiError::not_found("task", "id", &id)
}

parameters! {
    TaskListParameters {
        ..list(schema::tasks::TASK_LIST, "50")
    }
}

pub static TASK_LIST: Operation = Operation {
    id: "task_list",
    path: "/api/tasks",
    summary: "Lists the tasks outside workflows, newest first.",
    parameters: TaskListParameters::TABLE,
    answer: FieldType::page(&FieldType::Record(&schema::tasks::TASK)),
    ..Operation::GET
};

pub async fn task_list(db: Db, input: Input<TaskListParameters>) -> Result<Reply, ApiError> {
    let page = input.page(Order::Newest);
    let items = tasks::task_list(&db, page).await?;
    list(items, &input.uri, ApiError::NoRoute)
}

pub static TASK_CREATE: Operation = Operation {
    id: "task_create",
    path: "/api/tasks",
    summary: "Creates a task that belongs to no workflow.",
    body: Some(&schema::tasks::TASK_CREATE),
    answer: FieldType::Record(&schema::tasks::TASK),
    ..Operation::CREATE
};

pub async fn task_create(db: Db, input: Input) -> Result<Reply, ApiError> {
    let outcome = tasks::task_create(&db, input.body).await?;
    Ok(Reply::created(
        "/api/tasks",
        written(outcome, NOT_STORED, never)?,
    ))
}

pub static TASK_GET: Operation = Operation {
    id: "task_get",
    path: "/api/tasks/{id}",
    summary: "Returns a task that belongs to no workflow.",
    parameters: TaskId::TABLE,
    answer: FieldType::Record(&schema::tasks::TASK),
    errors: &[404],
    ..Operation::GET
};

pub async fn task_get(db: Db, input: Input<TaskId>) -> Result<Reply, ApiError> {
    let TaskId { id } = input.parameters;
    let task = tasks::task_get(&db, id).await?;
    Ok(Reply::row(task.ok_or_else(|| absent(id))?))
}

pub static TASK_UPDATE: Operation = Operation {
    id: "task_update",
    path: "/api/tasks/{id}",
    summary: "Updates the given fields of a task that belongs to no workflow.",
    parameters: TaskId::TABLE,
    body: Some(&schema::tasks::TASK_UPDATE),
    answer: FieldType::Record(&schema::tasks::TASK),
    errors: &[404, 412],
    ..Operation::PATCH
};

pub async fn task_update(db: Db, input: Input<TaskId>) -> Result<Reply, ApiError> {
    let TaskId { id } = input.parameters;
    let outcome = tasks::task_update(&db, id, input.body, &input.if_match).await?;
    Ok(Reply::row(written(outcome, absent(id), never)?))
}
