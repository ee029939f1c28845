//! The routes under /api/messages: their input, their responses, and one query for each route.

use uuid::Uuid;

use super::contract::Operation;
use super::input::Input;
use super::page::list;
use super::parameters::{EpochUs, Parameters as _, parameters};
use super::problem::ApiError;
use super::reply::Reply;
use crate::db::Db;
use crate::queries::{Order, messages};
use crate::schema;
use crate::schema::{FieldType, Parameter};

parameters! {
    MessageListParameters {
        since: Option<EpochUs> = Parameter::new(
            FieldType::Time,
            "Only messages created at or after this time (RFC 3339) are returned. A time without an offset is in UTC. Default: all messages are returned.",
        ),
        ..list(schema::messages::MESSAGE_LIST, "100")
    }
}

pub static MESSAGE_LIST: Operation = Operation {
    id: "message_list",
    path: "/api/messages",
    summary: "Lists the messages of all channels from a given time on, oldest first.",
    parameters: MessageListParameters::TABLE,
    answer: FieldType::page(&FieldType::Record(&schema::messages::CHANNEL_MESSAGE)),
    ..Operation::GET
};

pub async fn message_list(db: Db, input: Input<MessageListParameters>) -> Result<Reply, ApiError> {
    let page = input.page(Order::Oldest);
    let since_us = input.parameters.since.map_or(i64::MIN, |EpochUs(us)| us);
    let items = messages::message_list(&db, page, since_us).await?;
    list(items, &input.uri, ApiError::NoRoute)
}

parameters! {
    MessageId {
        id: Uuid = Parameter::new(FieldType::Uuid, "The message's id."),
    }
}

pub static MESSAGE_GET: Operation = Operation {
    id: "message_get",
    path: "/api/messages/{id}",
    summary: "Returns a message.",
    parameters: MessageId::TABLE,
    answer: FieldType::Record(&schema::messages::CHANNEL_MESSAGE),
    errors: &[404],
    ..Operation::GET
};

pub async fn message_get(db: Db, input: Input<MessageId>) -> Result<Reply, ApiError> {
    let MessageId { id } = input.parameters;
    let message = messages::message_get(&db, id).await?;
    Ok(Reply::row(message.ok_or_else(|| {
        ApiError::not_found("message", "id", &id)
    })?))
}
