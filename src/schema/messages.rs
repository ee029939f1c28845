//! Messages.

use constcat::{concat, concat_slices};

use super::{FieldType, Member, NAME, NEW_NAME, Schema, Target, columns, filters};

const AUTHOR_TYPE: FieldType = FieldType::OneOf(&["user", "agent"]);
const CONTENT: FieldType = FieldType::Text {
    min: 1,
    max: 100_000,
};

columns! {
    id: "7d0c0f2e-13f8-4b9e-9a52-0b3c9b1d6a3f"
    channel_id: "uuid" {
        row: FieldType::Uuid, Required, "Id of the message's channel.", r#""0b0aa6a4-2c0f-4b38-8f0b-6a5a3c1d9a10""#;
    }
    author_id: "uuid" {
        row: FieldType::Uuid, Nullable, "Id of the author; null if none was given.", "null";
        create: FieldType::AgentWhere { member: "author_type", is: "agent" }, OptionalNullable,
            "Id of the author. Default: null. If author_type is agent, the id is required, and the agent must exist.";
    }
    author_type: "text" {
        row: AUTHOR_TYPE, Required, "Type of the author: a person (user) or an agent.", r#""user""#;
        create: AUTHOR_TYPE, Optional, "Type of the author: a person (user) or an agent. Default: user.",
            sql "coalesce(author_type, 'user')";
    }
    author_name: "text" {
        row: NAME, Required, "Name of the author.", r#""maria""#;
        create: NEW_NAME, Optional, "Name of the author. Default: the agent's name if author_type is agent; otherwise the text `user`.",
            sql "coalesce(author_name, (SELECT name FROM agent), 'user')";
    }
    content: "text" {
        row: CONTENT, Required, "Text of the message.", r#""@backend, can you look at this?""#;
        create: CONTENT, Required, "Text of the message.";
    }
    thread_id: "uuid" {
        row: FieldType::Uuid, Nullable, "Id of the message that began the thread; null if the message is not in a thread.", "null";
        create: FieldType::Reference(Target::Message), OptionalNullable,
            "Id of the message that began the thread. It must be in the same channel. Default: null.";
    }
    metadata: "jsonb" {
        row: FieldType::Object, Required, "Additional data from the author, as a JSON object. The API stores it unchanged.", "{}";
        create: FieldType::Object, Optional,
            "Additional data from the author, as any JSON object of at most 16 KiB and 60 levels of nesting. The API stores it unchanged. Default: {}.",
            sql "coalesce(metadata, '{}')";
    }
    created_at: "timestamptz" {
        row: FieldType::Time, Required, "When the row was created.", r#""2026-01-31T12:00:00.000001Z""#;
    }
}

/// A message.
pub static CHANNEL_MESSAGE: Schema = Schema {
    name: "Message",
    members: ROW,
    example: concat!("{", EXAMPLE, "}"),
};

/// A new message.
pub static MESSAGE_CREATE: Schema = Schema {
    name: "MessageCreate",
    // In requests, the text precedes the three columns of its author, so the text's errors come first.
    members: concat_slices!([Member]: CREATE.split_at(3).1.split_at(1).0, CREATE.split_at(3).0, CREATE.split_at(4).1),
    example: r#"{"content": "@backend, can you look at this?", "author_name": "maria"}"#,
};

filters! {
    /// The list of all messages has no filters, except for its start, which is not a column's value.
    MESSAGE_LIST:
    [] uses ["idx_messages_created_at"];
}

filters! {
    /// The list of an agent's messages has no filters.
    AGENT_MESSAGE_LIST:
    [] uses ["idx_messages_author_id"];
}

filters! {
    /// The list of a channel's messages has no filters.
    CHANNEL_MESSAGE_LIST:
    [] uses ["idx_messages_channel_created"];
}
