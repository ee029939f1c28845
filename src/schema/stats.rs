//! Statistics of the rows.

use super::{COUNT, FieldType, Schema, members};

/// The numbers of agents, messages, tasks and workflows.
pub static STATS: Schema = Schema {
    name: "Stats",
    members: members! {
        agents: FieldType::Record(&STATS_AGENTS), Required, "Numbers of agents.";
        messages: FieldType::Record(&STATS_MESSAGES), Required, "Number of messages in all channels.";
        tasks: FieldType::Object, Required, "Number of tasks outside workflows for each status.";
        workflows: FieldType::Object, Required, "Number of workflows for each status.";
        counted_at: FieldType::Time, Nullable, "When the rows were counted, if the numbers come from an earlier count; null if the rows were counted for this response.";
    },
    example: r#"{"agents": {"total": 6, "active": 6, "busy": 0}, "messages": {"total": 1200, "is_estimate": false}, "tasks": {"pending": 1}, "workflows": {"executing": 2, "completed": 40}, "counted_at": null}"#,
};

/// The numbers of all, active and busy agents.
pub static STATS_AGENTS: Schema = Schema {
    name: "StatsAgents",
    members: members! {
        total: COUNT, Required, "Number of all agents.";
        active: COUNT, Required, "Number of active agents.";
        busy: COUNT, Required, "Number of busy agents.";
    },
    example: r#"{"total": 6, "active": 6, "busy": 0}"#,
};

/// The number of messages, counted or estimated.
pub static STATS_MESSAGES: Schema = Schema {
    name: "StatsMessages",
    members: members! {
        total: COUNT, Required, "Number of all messages.";
        is_estimate: FieldType::Boolean, Required, "Whether the number is an estimate. It is exact below 100,000 messages.";
    },
    example: r#"{"total": 1200, "is_estimate": false}"#,
};
