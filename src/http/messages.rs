//! The routes under /api/messages: their input, their responses, and one query for each.

use super::contract::{Kind, Operation, Parameter, answered, documented, epoch_us};
use super::input::Input;
use super::page::{CURSOR, LIMIT, OFFSET, list};
use super::problem::ApiError;
use super::reply::Reply;
use super::schemas;
use crate::db::Db;
use crate::queries::{Order, Page, messages};

pub static MESSAGE_LIST: Operation = Operation {
    id: "message_list",
    path: "/api/messages",
    summary: documented("Lists the messages of all channels from a given time on, oldest first."),
    parameters: &[
        Parameter {
            name: "since",
            kind: Kind::Time,
            about: documented(
                "Only messages created at or after this time (RFC 3339) are returned. A time without an offset is in UTC. Default: all messages are returned.",
            ),
            default: None,
        },
        Parameter {
            default: Some("100"),
            ..LIMIT
        },
        OFFSET,
        CURSOR,
    ],
    answer: answered(Kind::page(&Kind::Record(&schemas::CHANNEL_MESSAGE))),
    ..Operation::GET
};

pub async fn message_list(db: Db, input: Input) -> Result<Reply, ApiError> {
    let page = Page::of(&input, Order::Oldest, 100);
    let since_us = input.text("since").and_then(epoch_us).unwrap_or(i64::MIN);
    let items = messages::message_list(&db, page, since_us).await?;
    list(items, &input, ApiError::NoRoute)
}

pub static MESSAGE_GET: Operation = Operation {
    id: "message_get",
    path: "/api/messages/{id}",
    summary: documented("Returns a message."),
    parameters: &[Parameter::id("id", "The message's id.")],
    answer: answered(Kind::Record(&schemas::CHANNEL_MESSAGE)),
    errors: &[404],
    ..Operation::GET
};

pub async fn message_get(db: Db, input: Input) -> Result<Reply, ApiError> {
    let id = input.uuid("id");
    let message = messages::message_get(&db, id).await?;
    Ok(Reply::row(message.ok_or_else(|| {
        ApiError::not_found("message", "id", &id)
    })?))
}
