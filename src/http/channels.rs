//! The routes under /api/channels: their input, their responses, and one query for each route.

use uuid::Uuid;

use super::contract::Operation;
use super::input::Input;
use super::page::list;
use super::parameters::{Parameters as _, parameters};
use super::problem::ApiError;
use super::reply::{NOT_STORED, Reply, never, written};
use crate::db::Db;
use crate::queries::{Order, channels, messages};
use crate::schema;
use crate::schema::{FieldType, Parameter};

const ID: Parameter = Parameter::new(FieldType::Uuid, "The channel's id.");

parameters! {
    ChannelId {
        id: Uuid = ID,
    }
}

fn absent(id: Uuid) -> ApiError {
    ApiError::not_found("channel", "id", &id)
}

parameters! {
    ChannelListParameters {
        ..list(schema::channels::CHANNEL_LIST, "50")
    }
}

pub static CHANNEL_LIST: Operation = Operation {
    id: "channel_list",
    path: "/api/channels",
    summary: "Lists the channels that are not archived, oldest first.",
    parameters: ChannelListParameters::TABLE,
    answer: FieldType::page(&FieldType::Record(&schema::channels::CHANNEL)),
    ..Operation::GET
};

pub async fn channel_list(db: Db, input: Input<ChannelListParameters>) -> Result<Reply, ApiError> {
    let items = channels::channel_list(&db, input.page(Order::Oldest)).await?;
    list(items, &input.uri, ApiError::NoRoute)
}

pub static CHANNEL_CREATE: Operation = Operation {
    id: "channel_create",
    path: "/api/channels",
    summary: "Creates a channel.",
    body: Some(&schema::channels::CHANNEL_CREATE),
    answer: FieldType::Record(&schema::channels::CHANNEL),
    errors: &[409],
    ..Operation::CREATE
};

pub async fn channel_create(db: Db, input: Input) -> Result<Reply, ApiError> {
    let outcome = channels::channel_create(&db, input.body).await?;
    Ok(Reply::created(
        "/api/channels",
        written(outcome, NOT_STORED, never)?,
    ))
}

pub static CHANNEL_GET: Operation = Operation {
    id: "channel_get",
    path: "/api/channels/{id}",
    summary: "Returns a channel.",
    parameters: ChannelId::TABLE,
    answer: FieldType::Record(&schema::channels::CHANNEL),
    errors: &[404],
    ..Operation::GET
};

pub async fn channel_get(db: Db, input: Input<ChannelId>) -> Result<Reply, ApiError> {
    let ChannelId { id } = input.parameters;
    let channel = channels::channel_get(&db, id).await?;
    Ok(Reply::row(channel.ok_or_else(|| absent(id))?))
}

pub static CHANNEL_UPDATE: Operation = Operation {
    id: "channel_update",
    path: "/api/channels/{id}",
    summary: "Updates the given fields of a channel.",
    parameters: ChannelId::TABLE,
    body: Some(&schema::channels::CHANNEL_UPDATE),
    answer: FieldType::Record(&schema::channels::CHANNEL),
    errors: &[404, 409, 412],
    ..Operation::PATCH
};

pub async fn channel_update(db: Db, input: Input<ChannelId>) -> Result<Reply, ApiError> {
    let ChannelId { id } = input.parameters;
    let outcome = channels::channel_update(&db, id, input.body, &input.if_match).await?;
    let row = written(outcome, absent(id), |_| {
        "A direct-message channel cannot be renamed, because its new name could equal the name of another channel.".to_owned()
    })?;
    Ok(Reply::row(row))
}

pub static CHANNEL_ARCHIVE: Operation = Operation {
    id: "channel_archive",
    path: "/api/channels/{id}",
    summary: "Archives a channel; its messages are kept.",
    parameters: ChannelId::TABLE,
    answer: FieldType::Record(&schema::channels::CHANNEL_ACTION),
    errors: &[404, 412],
    ..Operation::DELETE
};

pub async fn channel_archive(db: Db, input: Input<ChannelId>) -> Result<Reply, ApiError> {
    let ChannelId { id } = input.parameters;
    let outcome = channels::channel_archive(&db, id, &input.if_match).await?;
    Ok(Reply::row(written(outcome, absent(id), never)?))
}

pub static CHANNEL_CLEAR: Operation = Operation {
    id: "channel_clear",
    path: "/api/channels/{id}/clear",
    summary: "Hides all messages up to now from a channel's history.",
    parameters: ChannelId::TABLE,
    answer: FieldType::Record(&schema::channels::CHANNEL_ACTION),
    errors: &[404, 412],
    ..Operation::POST
};

pub async fn channel_clear(db: Db, input: Input<ChannelId>) -> Result<Reply, ApiError> {
    let ChannelId { id } = input.parameters;
    let outcome = channels::channel_clear(&db, id, &input.if_match).await?;
    Ok(Reply::row(written(outcome, absent(id), never)?))
}

parameters! {
    ChannelMessageListParameters {
        id: Uuid = ID,
        ..list(schema::messages::CHANNEL_MESSAGE_LIST, "100")
    }
}

pub static CHANNEL_MESSAGE_LIST: Operation = Operation {
    id: "channel_message_list",
    path: "/api/channels/{id}/messages",
    summary: "Lists a channel's newest messages in the order they were written; the next page has older messages.",
    parameters: ChannelMessageListParameters::TABLE,
    answer: FieldType::page(&FieldType::Record(&schema::messages::CHANNEL_MESSAGE)),
    errors: &[404],
    ..Operation::GET
};

pub async fn channel_message_list(
    db: Db,
    input: Input<ChannelMessageListParameters>,
) -> Result<Reply, ApiError> {
    let page = input.page(Order::NewestLast);
    let id = input.parameters.id;
    let items = channels::channel_message_list(&db, page, id).await?;
    list(items, &input.uri, absent(id))
}

pub static MESSAGE_CREATE: Operation = Operation {
    id: "message_create",
    path: "/api/channels/{id}/messages",
    summary: "Creates a message in a channel.",
    parameters: ChannelId::TABLE,
    body: Some(&schema::messages::MESSAGE_CREATE),
    answer: FieldType::Record(&schema::messages::CHANNEL_MESSAGE),
    errors: &[404, 409],
    ..Operation::CREATE
};

pub async fn message_create(db: Db, input: Input<ChannelId>) -> Result<Reply, ApiError> {
    let ChannelId { id } = input.parameters;
    let outcome = messages::message_create(&db, id, input.body).await?;
    let row = written(outcome, absent(id), |state| {
        format!("The channel is {state}. No message can be created in it.")
    })?;
    Ok(Reply::created("/api/messages", row))
}
