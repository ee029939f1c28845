//! The routes under /api/channels: their input, their responses, and one query for each.

use super::contract::{Kind, Operation, Parameter, answered, documented};
use super::input::Input;
use super::page::{CURSOR, DEFAULT_LIMIT, LIMIT, OFFSET, list};
use super::problem::ApiError;
use super::reply::{NOT_STORED, Reply, never, written};
use super::schemas;
use crate::db::Db;
use crate::queries::{Order, Page, channels, messages};

const ID: Parameter = Parameter::id("id", "The channel's id.");

fn absent(input: &Input) -> ApiError {
    ApiError::not_found("channel", "id", &input.uuid("id"))
}

pub static CHANNEL_LIST: Operation = Operation {
    id: "channel_list",
    path: "/api/channels",
    summary: documented("Lists the channels that are not archived, oldest first."),
    parameters: &[LIMIT, OFFSET, CURSOR],
    answer: answered(Kind::page(&Kind::Record(&schemas::CHANNEL))),
    ..Operation::GET
};

pub async fn channel_list(db: Db, input: Input) -> Result<Reply, ApiError> {
    let page = Page::of(&input, Order::Oldest, DEFAULT_LIMIT);
    let items = channels::channel_list(&db, page).await?;
    list(items, &input, ApiError::NoRoute)
}

pub static CHANNEL_CREATE: Operation = Operation {
    id: "channel_create",
    path: "/api/channels",
    summary: documented("Creates a channel."),
    body: Some(&schemas::CHANNEL_CREATE),
    answer: answered(Kind::Record(&schemas::CHANNEL)),
    errors: &[409],
    ..Operation::CREATE
};

pub async fn channel_create(db: Db, mut input: Input) -> Result<Reply, ApiError> {
    let body = input.take_body();
    let outcome = channels::channel_create(&db, body).await?;
    Reply::created("/api/channels", written(outcome, NOT_STORED, never)?)
}

pub static CHANNEL_GET: Operation = Operation {
    id: "channel_get",
    path: "/api/channels/{id}",
    summary: documented("Returns a channel."),
    parameters: &[ID],
    answer: answered(Kind::Record(&schemas::CHANNEL)),
    errors: &[404],
    ..Operation::GET
};

pub async fn channel_get(db: Db, input: Input) -> Result<Reply, ApiError> {
    let channel = channels::channel_get(&db, input.uuid("id")).await?;
    Ok(Reply::row(channel.ok_or_else(|| absent(&input))?))
}

pub static CHANNEL_UPDATE: Operation = Operation {
    id: "channel_update",
    path: "/api/channels/{id}",
    summary: documented("Updates the given fields of a channel."),
    parameters: &[ID],
    body: Some(&schemas::CHANNEL_UPDATE),
    answer: answered(Kind::Record(&schemas::CHANNEL)),
    errors: &[404, 409, 412],
    ..Operation::PATCH
};

pub async fn channel_update(db: Db, mut input: Input) -> Result<Reply, ApiError> {
    let body = input.take_body();
    let outcome = channels::channel_update(&db, input.uuid("id"), body, &input.if_match).await?;
    let row = written(outcome, absent(&input), |_| {
        "A direct-message channel cannot be renamed, because its new name could equal the name of another channel.".to_owned()
    })?;
    Ok(Reply::row(row))
}

pub static CHANNEL_ARCHIVE: Operation = Operation {
    id: "channel_archive",
    path: "/api/channels/{id}",
    summary: documented("Archives a channel; its messages are kept."),
    parameters: &[ID],
    answer: answered(Kind::Record(&schemas::CHANNEL_ACTION)),
    errors: &[404, 412],
    ..Operation::DELETE
};

pub async fn channel_archive(db: Db, input: Input) -> Result<Reply, ApiError> {
    let outcome = channels::channel_archive(&db, input.uuid("id"), &input.if_match).await?;
    Ok(Reply::row(written(outcome, absent(&input), never)?))
}

pub static CHANNEL_CLEAR: Operation = Operation {
    id: "channel_clear",
    path: "/api/channels/{id}/clear",
    summary: documented("Hides all messages up to now from a channel's history."),
    parameters: &[ID],
    answer: answered(Kind::Record(&schemas::CHANNEL_ACTION)),
    errors: &[404, 412],
    ..Operation::POST
};

pub async fn channel_clear(db: Db, input: Input) -> Result<Reply, ApiError> {
    let outcome = channels::channel_clear(&db, input.uuid("id"), &input.if_match).await?;
    Ok(Reply::row(written(outcome, absent(&input), never)?))
}

pub static CHANNEL_MESSAGE_LIST: Operation = Operation {
    id: "channel_message_list",
    path: "/api/channels/{id}/messages",
    summary: documented(
        "Lists a channel's newest messages in the order they were written; the next page has older messages.",
    ),
    parameters: &[
        ID,
        Parameter {
            default: Some("100"),
            ..LIMIT
        },
        OFFSET,
        CURSOR,
    ],
    answer: answered(Kind::page(&Kind::Record(&schemas::CHANNEL_MESSAGE))),
    errors: &[404],
    ..Operation::GET
};

pub async fn channel_message_list(db: Db, input: Input) -> Result<Reply, ApiError> {
    let page = Page::of(&input, Order::NewestLast, 100);
    let items = channels::channel_message_list(&db, page, input.uuid("id")).await?;
    list(items, &input, absent(&input))
}

pub static MESSAGE_CREATE: Operation = Operation {
    id: "message_create",
    path: "/api/channels/{id}/messages",
    summary: documented("Creates a message in a channel."),
    parameters: &[ID],
    body: Some(&schemas::MESSAGE_CREATE),
    answer: answered(Kind::Record(&schemas::CHANNEL_MESSAGE)),
    errors: &[404, 409],
    ..Operation::CREATE
};

pub async fn message_create(db: Db, mut input: Input) -> Result<Reply, ApiError> {
    let body = input.take_body();
    let outcome = messages::message_create(&db, input.uuid("id"), body).await?;
    let row = written(outcome, absent(&input), |state| {
        format!("The channel is {state}. No message can be created in it.")
    })?;
    Reply::created("/api/messages", row)
}
