//! Channels.

use constcat::{concat, concat_slices};

use super::{FieldType, MESSAGE, Member, NAME, NEW_NAME, Schema, columns, filters};

const TOPIC: FieldType = FieldType::Text { min: 0, max: 500 };
const CHANNEL_TYPE: FieldType = FieldType::OneOf(&["public", "private", "dm"]);
/// The channel types that a client can set. A direct-message channel is created through its agent.
const OPEN_CHANNEL_TYPE: FieldType = FieldType::OneOf(&["public", "private"]);

columns! {
    id: "0b0aa6a4-2c0f-4b38-8f0b-6a5a3c1d9a10"
    name: "text" {
        row: NAME, Required, "Name of the channel.", r#""general""#;
        create: NEW_NAME, Required, "Name of the channel. It must be unique among public and private channels.";
        update: NEW_NAME, Optional, "New name of the channel. It must be unique among public and private channels.";
    }
    topic: "text" {
        row: TOPIC, Nullable, "Topic of the channel.", r#""Everything else""#;
        create: TOPIC, OptionalNullable, "Topic of the channel. Default: null.";
        update: TOPIC, OptionalNullable, "New topic of the channel; null removes the topic.";
    }
    channel_type: "text" {
        row: CHANNEL_TYPE, Required, "Type of the channel; dm is a direct-message channel with an agent.", r#""public""#;
        create: OPEN_CHANNEL_TYPE, Optional, "Type of the channel. Default: public.", sql "coalesce(channel_type, 'public')";
        update: OPEN_CHANNEL_TYPE, Optional, "New type of the channel.";
    }
    dm_agent_id: "uuid" {
        row: FieldType::Uuid, Nullable, "Id of the agent, if this is a direct-message channel, otherwise null.", "null";
    }
    is_archived: "boolean" {
        row: FieldType::Boolean, Required, "Whether the channel is archived. An archived channel accepts no new messages.", "false";
    }
    context_cleared_at: "timestamptz" {
        row: FieldType::Time, Nullable,
            "Messages before this time are hidden from the channel's history; null if the history was never cleared.", "null";
    }
    created_at: "timestamptz" {
        row: FieldType::Time, Required, "When the row was created.", r#""2026-01-31T12:00:00.000001Z""#;
    }
    updated_at: "timestamptz" {
        row: FieldType::Time, Required, "When the row was last changed.", r#""2026-01-31T12:00:00.000001Z""#;
    }
}

/// A channel.
pub static CHANNEL: Schema = Schema {
    name: "Channel",
    members: ROW,
    example: concat!("{", EXAMPLE, "}"),
};

/// A channel after an action, with a message about the action.
pub static CHANNEL_ACTION: Schema = Schema {
    name: "ChannelAction",
    members: concat_slices!([Member]: ROW, MESSAGE),
    example: r#"{"id": "0b0aa6a4-2c0f-4b38-8f0b-6a5a3c1d9a10", "name": "general", "topic": null, "channel_type": "public", "dm_agent_id": null, "is_archived": true, "context_cleared_at": null, "created_at": "2026-01-31T12:00:00.000001Z", "updated_at": "2026-01-31T12:00:00.000001Z", "message": "Channel general is archived; its messages stay."}"#,
};

/// A new channel.
pub static CHANNEL_CREATE: Schema = Schema {
    name: "ChannelCreate",
    members: CREATE,
    example: r#"{"name": "release-2", "topic": "What goes into the second release"}"#,
};

/// The changes to a channel.
pub static CHANNEL_UPDATE: Schema = Schema {
    name: "ChannelUpdate",
    members: UPDATE,
    example: r#"{"topic": "What went into the second release"}"#,
};

filters! {
    /// The list of channels has no filters.
    CHANNEL_LIST:
    [] uses ["channels_active_idx"];
}
