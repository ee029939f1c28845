//! The schemas of request and response bodies, as openapi.json shows them.
//!
//! The component checks request bodies against these schemas. Statements build the response bodies, and every API test checks
//! them against these schemas.

use super::contract::Presence::{Nullable, Optional, OptionalNullable, Required};
use super::contract::{Kind, Member, Presence, Schema, documented};
use crate::queries::fleet_report::Window;
use crate::queries::references::Target;

const fn member(name: &'static str, kind: Kind, presence: Presence, about: &'static str) -> Member {
    Member {
        name,
        kind,
        presence,
        about: documented(about),
    }
}

const COUNT: Kind = Kind::Integer {
    min: 0,
    max: i64::MAX,
};
const DESCRIPTION: Kind = Kind::Text {
    min: 1,
    max: 10_000,
};
const LONG_TEXT: Kind = Kind::Text {
    min: 0,
    max: 100_000,
};
const PRIORITY: Kind = Kind::Integer { min: 0, max: 100 };
const ORDER_INDEX: Kind = Kind::Integer {
    min: 0,
    max: 100_000,
};
const AUTHOR_TYPE: Kind = Kind::OneOf(&["user", "agent"]);
const NAME: Kind = Kind::Text { min: 1, max: 100 };
/// The name in a request that creates or renames something. Responses have [`NAME`], because older rows may have any name.
const NEW_NAME: Kind = Kind::Name { max: 100 };
const TOPIC: Kind = Kind::Text { min: 0, max: 500 };
const STRATEGY: Kind = Kind::OneOf(&["sequential", "parallel", "dag"]);

/// The states of a workflow.
pub const WORKFLOW_STATUS: Kind = Kind::OneOf(&[
    "pending",
    "planning",
    "executing",
    "completed",
    "failed",
    "cancelled",
]);
/// The states of a workflow's task.
pub const WORKFLOW_TASK_STATUS: Kind = Kind::OneOf(&[
    "pending",
    "ready",
    "in_progress",
    "completed",
    "failed",
    "skipped",
]);
/// The states of a task outside workflows.
pub const TASK_STATUS: Kind = Kind::OneOf(&["pending", "in_progress", "completed", "failed"]);
/// The type of an agent, a word that each installation chooses.
pub const AGENT_TYPE: Kind = Kind::Pattern {
    regex: "^[a-z][a-z0-9_]{0,49}$",
    matches: |text| {
        text.len() <= 50
            && text.starts_with(|first: char| first.is_ascii_lowercase())
            && text
                .bytes()
                .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_'))
    },
    form: "must be a lower-case word of up to 50 letters, digits and _",
};
const AGENT_NAME: Kind = Kind::Pattern {
    regex: "^@?[A-Za-z0-9_.-]{1,99}$",
    matches: |text| {
        let name = text.strip_prefix('@').unwrap_or(text);
        (1..=99).contains(&name.len())
            && name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'))
    },
    form: "must be up to 99 letters, digits, _ . and -, with or without a leading @",
};
/// The name in a request that creates or renames an agent. It can't begin with a dot, because clients resolve
/// `/api/agents/name/..` before they send it.
const NEW_AGENT_NAME: Kind = Kind::Pattern {
    regex: "^@?[A-Za-z0-9_-][A-Za-z0-9_.-]{0,98}$",
    matches: |text| {
        let name = text.strip_prefix('@').unwrap_or(text);
        (1..=99).contains(&name.len())
            && !name.starts_with('.')
            && name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'))
    },
    form: "must be up to 99 letters, digits, _ . and -, not beginning with a dot, with or without a leading @",
};

const ID: Member = member("id", Kind::Uuid, Required, "Its id.");
const CREATED_AT: Member = member("created_at", Kind::Time, Required, "When it was made.");
const UPDATED_AT: Member = member(
    "updated_at",
    Kind::Time,
    Required,
    "When it was last changed.",
);
const STARTED_AT: Member = member("started_at", Kind::Time, Nullable, "When work on it began.");
const COMPLETED_AT: Member = member(
    "completed_at",
    Kind::Time,
    Nullable,
    "When it ended, well or not.",
);
const MESSAGE: Member = member(
    "message",
    Kind::Text { min: 1, max: 1000 },
    Required,
    "What was done, in a sentence.",
);

/// The persona of an agent.
pub static PERSONA: Schema = Schema {
    name: "Persona",
    members: &[
        member(
            "role",
            Kind::Text { min: 0, max: 500 },
            Optional,
            "What it does.",
        ),
        member(
            "goal",
            Kind::Text { min: 0, max: 2000 },
            Optional,
            "What it's after.",
        ),
        member(
            "backstory",
            Kind::Text {
                min: 0,
                max: 10_000,
            },
            Optional,
            "Where it comes from.",
        ),
        member(
            "capabilities",
            Kind::List {
                of: &Kind::Text { min: 1, max: 100 },
                max: 100,
            },
            Optional,
            "What it can do, each in a word.",
        ),
    ],
    example: documented(
        r#"{"role": "Backend developer", "goal": "Build services that are fast", "backstory": "Writes the test first.", "capabilities": ["apis", "databases"]}"#,
    ),
};

macro_rules! agent_members {
    ($($more:expr),*) => {
        &[
            ID,
            member("name", AGENT_NAME, Required, "Its name, with the @ that mentions begin with."),
            member("agent_type", AGENT_TYPE, Required, "What kind of agent it is."),
            member("persona", Kind::Record(&PERSONA), Required, "Who it is."),
            member("config", Kind::Object, Required, "Its settings; the API doesn't look into them."),
            member("is_active", Kind::Boolean, Required, "Whether it takes part."),
            member("is_busy", Kind::Boolean, Required, "Whether it works on something."),
            CREATED_AT,
            UPDATED_AT,
            $($more),*
        ]
    };
}

/// An agent.
pub static AGENT: Schema = Schema {
    name: "Agent",
    members: agent_members!(),
    example: documented(
        r#"{"id": "4a922d03-4c26-4ca9-a1ce-5625fd2f50f6", "name": "@backend", "agent_type": "developer", "persona": {"role": "Backend developer"}, "config": {}, "is_active": true, "is_busy": false, "created_at": "2026-01-31T12:00:00.000001+00:00", "updated_at": "2026-01-31T12:00:00.000001+00:00"}"#,
    ),
};

/// An agent after an action, with a message about the action.
pub static AGENT_ACTION: Schema = Schema {
    name: "AgentAction",
    members: agent_members!(MESSAGE),
    example: documented(
        r#"{"id": "4a922d03-4c26-4ca9-a1ce-5625fd2f50f6", "name": "@backend", "agent_type": "developer", "persona": {"role": "Backend developer"}, "config": {}, "is_active": true, "is_busy": false, "created_at": "2026-01-31T12:00:00.000001+00:00", "updated_at": "2026-01-31T12:00:00.000001+00:00", "message": "Agent @backend is active now."}"#,
    ),
};

/// Whether an agent is online, and whether it is busy.
pub static AGENT_STATUS: Schema = Schema {
    name: "AgentStatus",
    members: &[
        ID,
        member("name", AGENT_NAME, Required, "Its name."),
        member(
            "agent_type",
            AGENT_TYPE,
            Required,
            "What kind of agent it is.",
        ),
        member(
            "status",
            Kind::OneOf(&["online", "offline"]),
            Required,
            "Whether it takes part.",
        ),
        member(
            "is_busy",
            Kind::Boolean,
            Required,
            "Whether it works on something.",
        ),
    ],
    example: documented(
        r#"{"id": "4a922d03-4c26-4ca9-a1ce-5625fd2f50f6", "name": "@backend", "agent_type": "developer", "status": "online", "is_busy": false}"#,
    ),
};

/// A new agent.
pub static AGENT_CREATE: Schema = Schema {
    name: "AgentCreate",
    members: &[
        member(
            "name",
            NEW_AGENT_NAME,
            Required,
            "Its name, with or without the @; no other agent may have it.",
        ),
        member(
            "agent_type",
            AGENT_TYPE,
            Required,
            "What kind of agent it is.",
        ),
        member("persona", Kind::Record(&PERSONA), Optional, "Who it is."),
        member(
            "config",
            Kind::Object,
            Optional,
            "Its settings; the API doesn't look into them.",
        ),
        member(
            "is_active",
            Kind::Boolean,
            Optional,
            "Whether it takes part; true where it isn't given.",
        ),
    ],
    example: documented(
        r#"{"name": "@writer", "agent_type": "writer", "persona": {"role": "Writer", "capabilities": ["editing"]}}"#,
    ),
};

/// The changes to an agent.
pub static AGENT_UPDATE: Schema = Schema {
    name: "AgentUpdate",
    members: &[
        member(
            "name",
            NEW_AGENT_NAME,
            Optional,
            "Its new name; no other agent may have it.",
        ),
        member(
            "agent_type",
            AGENT_TYPE,
            Optional,
            "What kind of agent it is.",
        ),
        member(
            "persona",
            Kind::Record(&PERSONA),
            Optional,
            "Who it is; takes the place of what was there.",
        ),
        member(
            "config",
            Kind::Object,
            Optional,
            "Its settings; take the place of what was there.",
        ),
        member(
            "is_active",
            Kind::Boolean,
            Optional,
            "Whether it takes part.",
        ),
        member(
            "is_busy",
            Kind::Boolean,
            Optional,
            "Whether it works on something.",
        ),
    ],
    example: documented(r#"{"is_busy": true}"#),
};

const CHANNEL_TYPE: Kind = Kind::OneOf(&["public", "private", "dm"]);
/// The channel types that a client can set. A direct-message channel is created through its agent.
const OPEN_CHANNEL_TYPE: Kind = Kind::OneOf(&["public", "private"]);

macro_rules! channel_members {
    ($($more:expr),*) => {
        &[
            ID,
            member("name", NAME, Required, "Its name."),
            member("topic", TOPIC, Nullable, "What it's about."),
            member("channel_type", CHANNEL_TYPE, Required, "Who it's for."),
            member("dm_agent_id", Kind::Uuid, Nullable, "The agent of a direct-message channel."),
            member("is_archived", Kind::Boolean, Required, "Whether it's closed to new messages."),
            member("context_cleared_at", Kind::Time, Nullable, "Its history hides what's older."),
            CREATED_AT,
            UPDATED_AT,
            $($more),*
        ]
    };
}

/// A channel.
pub static CHANNEL: Schema = Schema {
    name: "Channel",
    members: channel_members!(),
    example: documented(
        r#"{"id": "0b0aa6a4-2c0f-4b38-8f0b-6a5a3c1d9a10", "name": "general", "topic": "Everything else", "channel_type": "public", "dm_agent_id": null, "is_archived": false, "context_cleared_at": null, "created_at": "2026-01-31T12:00:00.000001+00:00", "updated_at": "2026-01-31T12:00:00.000001+00:00"}"#,
    ),
};

/// A channel after an action, with a message about the action.
pub static CHANNEL_ACTION: Schema = Schema {
    name: "ChannelAction",
    members: channel_members!(MESSAGE),
    example: documented(
        r#"{"id": "0b0aa6a4-2c0f-4b38-8f0b-6a5a3c1d9a10", "name": "general", "topic": null, "channel_type": "public", "dm_agent_id": null, "is_archived": true, "context_cleared_at": null, "created_at": "2026-01-31T12:00:00.000001+00:00", "updated_at": "2026-01-31T12:00:00.000001+00:00", "message": "Channel general is archived; its messages stay."}"#,
    ),
};

/// A new channel.
pub static CHANNEL_CREATE: Schema = Schema {
    name: "ChannelCreate",
    members: &[
        member(
            "name",
            NEW_NAME,
            Required,
            "Its name; no other channel may have it.",
        ),
        member("topic", TOPIC, OptionalNullable, "What it's about."),
        member(
            "channel_type",
            OPEN_CHANNEL_TYPE,
            Optional,
            "Who it's for; public where it isn't given.",
        ),
    ],
    example: documented(r#"{"name": "release-2", "topic": "What goes into the second release"}"#),
};

/// The changes to a channel.
pub static CHANNEL_UPDATE: Schema = Schema {
    name: "ChannelUpdate",
    members: &[
        member(
            "name",
            NEW_NAME,
            Optional,
            "Its new name; no other channel may have it.",
        ),
        member("topic", TOPIC, OptionalNullable, "What it's about."),
        member("channel_type", OPEN_CHANNEL_TYPE, Optional, "Who it's for."),
    ],
    example: documented(r#"{"topic": "What went into the second release"}"#),
};

/// A message.
pub static CHANNEL_MESSAGE: Schema = Schema {
    name: "Message",
    members: &[
        ID,
        member("channel_id", Kind::Uuid, Required, "The channel it's in."),
        member("author_id", Kind::Uuid, Nullable, "Who wrote it."),
        member(
            "author_type",
            AUTHOR_TYPE,
            Required,
            "Whether a person or an agent wrote it.",
        ),
        member("author_name", NAME, Required, "Who wrote it, by name."),
        member(
            "content",
            Kind::Text {
                min: 1,
                max: 100_000,
            },
            Required,
            "What it says.",
        ),
        member(
            "thread_id",
            Kind::Uuid,
            Nullable,
            "The message its thread began with.",
        ),
        member(
            "metadata",
            Kind::Object,
            Required,
            "What the writer added; the API doesn't look into it.",
        ),
        CREATED_AT,
    ],
    example: documented(
        r#"{"id": "7d0c0f2e-13f8-4b9e-9a52-0b3c9b1d6a3f", "channel_id": "0b0aa6a4-2c0f-4b38-8f0b-6a5a3c1d9a10", "author_id": null, "author_type": "user", "author_name": "maria", "content": "@backend, can you look at this?", "thread_id": null, "metadata": {}, "created_at": "2026-01-31T12:00:00.000001+00:00"}"#,
    ),
};

/// A new message.
pub static MESSAGE_CREATE: Schema = Schema {
    name: "MessageCreate",
    members: &[
        member(
            "content",
            Kind::Text {
                min: 1,
                max: 100_000,
            },
            Required,
            "What it says.",
        ),
        member(
            "author_type",
            AUTHOR_TYPE,
            Optional,
            "Whether a person or an agent writes it; user where it isn't given.",
        ),
        member(
            "author_id",
            Kind::AgentWhere {
                member: "author_type",
                is: "agent",
            },
            OptionalNullable,
            "Who writes it; an agent must be given, and be there.",
        ),
        member(
            "author_name",
            NEW_NAME,
            Optional,
            "Who writes it, by name; an agent's own name where it isn't given.",
        ),
        member(
            "thread_id",
            Kind::Reference(Target::Message),
            OptionalNullable,
            "The message its thread began with, in the same channel.",
        ),
        member(
            "metadata",
            Kind::Object,
            Optional,
            "What the writer adds; the API doesn't look into it.",
        ),
    ],
    example: documented(
        r#"{"content": "@backend, can you look at this?", "author_name": "maria"}"#,
    ),
};

macro_rules! workflow_members {
    ($($more:expr),*) => {
        &[
            ID,
            member("description", DESCRIPTION, Required, "What it's to achieve."),
            member("orchestrator_id", Kind::Uuid, Nullable, "The agent that sees it through."),
            member("channel_id", Kind::Uuid, Nullable, "The channel it's talked about in."),
            member("status", WORKFLOW_STATUS, Required, "Its state."),
            member("execution_strategy", STRATEGY, Required, "Which tasks may be worked on when."),
            CREATED_AT,
            STARTED_AT,
            COMPLETED_AT,
            $($more),*
        ]
    };
}

/// A workflow in a list.
pub static WORKFLOW: Schema = Schema {
    name: "Workflow",
    members: workflow_members!(),
    example: documented(
        r#"{"id": "c2b5d0f4-7f43-4f0e-8a5e-1d2f3a4b5c6d", "description": "Ship the second release", "orchestrator_id": "4a922d03-4c26-4ca9-a1ce-5625fd2f50f6", "channel_id": null, "status": "pending", "execution_strategy": "dag", "created_at": "2026-01-31T12:00:00.000001+00:00", "started_at": null, "completed_at": null}"#,
    ),
};

/// A workflow after an action, with a message about the action.
pub static WORKFLOW_ACTION: Schema = Schema {
    name: "WorkflowAction",
    members: workflow_members!(MESSAGE),
    example: documented(
        r#"{"id": "c2b5d0f4-7f43-4f0e-8a5e-1d2f3a4b5c6d", "description": "Ship the second release", "orchestrator_id": "4a922d03-4c26-4ca9-a1ce-5625fd2f50f6", "channel_id": null, "status": "executing", "execution_strategy": "dag", "created_at": "2026-01-31T12:00:00.000001+00:00", "started_at": "2026-01-31T12:00:01.000001+00:00", "completed_at": null, "message": "Workflow c2b5d0f4-7f43-4f0e-8a5e-1d2f3a4b5c6d is executing."}"#,
    ),
};

/// A workflow with its tasks.
pub static WORKFLOW_WITH_TASKS: Schema = Schema {
    name: "WorkflowWithTasks",
    members: workflow_members!(member(
        "workflow_tasks",
        Kind::List {
            of: &Kind::Record(&WORKFLOW_TASK),
            max: 1000
        },
        Required,
        "Its tasks, by position."
    )),
    example: documented(
        r#"{"id": "c2b5d0f4-7f43-4f0e-8a5e-1d2f3a4b5c6d", "description": "Ship the second release", "orchestrator_id": "4a922d03-4c26-4ca9-a1ce-5625fd2f50f6", "channel_id": null, "status": "pending", "execution_strategy": "dag", "created_at": "2026-01-31T12:00:00.000001+00:00", "started_at": null, "completed_at": null, "workflow_tasks": []}"#,
    ),
};

/// A task in the request that creates its workflow.
pub static WORKFLOW_CREATE_TASK: Schema = Schema {
    name: "WorkflowCreateTask",
    members: &[
        member("description", DESCRIPTION, Required, "What's to do."),
        member(
            "agent_id",
            Kind::Reference(Target::Agent),
            OptionalNullable,
            "The agent it's meant for; anyone's where there's none.",
        ),
        member(
            "order_index",
            ORDER_INDEX,
            Optional,
            "Its position; its place in the list where it isn't given.",
        ),
        member(
            "depends_on",
            Kind::List {
                of: &Kind::EarlierPosition,
                max: 100,
            },
            Optional,
            "The places in this list, from 0, of the earlier tasks it waits for in a dag.",
        ),
    ],
    example: documented(r#"{"description": "Write the release notes", "depends_on": []}"#),
};

/// A new workflow.
pub static WORKFLOW_CREATE: Schema = Schema {
    name: "WorkflowCreate",
    members: &[
        member(
            "description",
            DESCRIPTION,
            Required,
            "What it's to achieve.",
        ),
        member(
            "orchestrator_id",
            Kind::Reference(Target::Agent),
            OptionalNullable,
            "The agent that sees it through; the active orchestrator where there's none.",
        ),
        member(
            "channel_id",
            Kind::Reference(Target::Channel),
            OptionalNullable,
            "The channel it's talked about in.",
        ),
        member(
            "execution_strategy",
            STRATEGY,
            Optional,
            "Which tasks may be worked on when; sequential where it isn't given.",
        ),
        member(
            "tasks",
            Kind::List {
                of: &Kind::Record(&WORKFLOW_CREATE_TASK),
                max: 100,
            },
            Optional,
            "Its first tasks.",
        ),
    ],
    example: documented(
        r#"{"description": "Ship the second release", "execution_strategy": "dag", "tasks": [{"description": "Freeze the code"}, {"description": "Write the release notes", "depends_on": [0]}]}"#,
    ),
};

/// A workflow's task.
pub static WORKFLOW_TASK: Schema = Schema {
    name: "WorkflowTask",
    members: &[
        ID,
        member(
            "workflow_id",
            Kind::Uuid,
            Required,
            "The workflow it belongs to.",
        ),
        member("description", DESCRIPTION, Required, "What's to do."),
        member(
            "agent_id",
            Kind::Uuid,
            Nullable,
            "The agent it's meant for, or that works on it.",
        ),
        member("order_index", ORDER_INDEX, Required, "Its position."),
        member(
            "depends_on",
            Kind::List {
                of: &Kind::Uuid,
                max: 100,
            },
            Required,
            "The tasks it waits for in a dag.",
        ),
        member("status", WORKFLOW_TASK_STATUS, Required, "Its state."),
        member("output", LONG_TEXT, Nullable, "What came of it."),
        member(
            "error",
            Kind::Text {
                min: 0,
                max: 10_000,
            },
            Nullable,
            "Why it failed.",
        ),
        CREATED_AT,
        STARTED_AT,
        COMPLETED_AT,
    ],
    example: documented(
        r#"{"id": "e7a1b9c0-5d3f-4e2a-9b8c-7d6e5f4a3b2c", "workflow_id": "c2b5d0f4-7f43-4f0e-8a5e-1d2f3a4b5c6d", "description": "Write the release notes", "agent_id": null, "order_index": 1, "depends_on": [], "status": "pending", "output": null, "error": null, "created_at": "2026-01-31T12:00:00.000001+00:00", "started_at": null, "completed_at": null}"#,
    ),
};

/// A new task for an existing workflow.
pub static WORKFLOW_TASK_CREATE: Schema = Schema {
    name: "WorkflowTaskCreate",
    members: &[
        member("description", DESCRIPTION, Required, "What's to do."),
        member(
            "agent_id",
            Kind::Reference(Target::Agent),
            OptionalNullable,
            "The agent it's meant for; anyone's where there's none.",
        ),
        member(
            "order_index",
            ORDER_INDEX,
            Optional,
            "Position in the workflow. If omitted, the task is added after all others; this is refused with 409 if the last task has order_index 100000.",
        ),
        member(
            "depends_on",
            Kind::List {
                of: &Kind::Reference(Target::WorkflowTask),
                max: 100,
            },
            Optional,
            "The tasks of the same workflow it waits for in a dag.",
        ),
    ],
    example: documented(r#"{"description": "Tell the press"}"#),
};

/// The changes to a workflow's task.
pub static WORKFLOW_TASK_UPDATE: Schema = Schema {
    name: "WorkflowTaskUpdate",
    members: &[
        member(
            "status",
            Kind::OneOf(&["in_progress", "completed", "failed", "skipped"]),
            Optional,
            "Its new state; output and error alone are reported while it's in progress.",
        ),
        member("output", LONG_TEXT, OptionalNullable, "What came of it."),
        member(
            "error",
            Kind::Text {
                min: 0,
                max: 10_000,
            },
            OptionalNullable,
            "Why it failed.",
        ),
    ],
    example: documented(r#"{"status": "completed", "output": "The notes are in the wiki."}"#),
};

/// An agent's request to claim a task.
pub static WORKFLOW_TASK_CLAIM: Schema = Schema {
    name: "WorkflowTaskClaim",
    members: &[
        member(
            "agent_id",
            Kind::Reference(Target::Agent),
            Required,
            "The agent that asks.",
        ),
        member(
            "workflow_id",
            Kind::Reference(Target::Workflow),
            OptionalNullable,
            "The workflow it wants work of; any where it isn't given.",
        ),
    ],
    example: documented(r#"{"agent_id": "4a922d03-4c26-4ca9-a1ce-5625fd2f50f6"}"#),
};

/// A task outside workflows.
pub static TASK: Schema = Schema {
    name: "Task",
    members: &[
        ID,
        member("description", DESCRIPTION, Required, "What's to do."),
        member(
            "assigned_to",
            Kind::Uuid,
            Nullable,
            "The agent that's to do it.",
        ),
        member("status", TASK_STATUS, Required, "Its state."),
        member("priority", PRIORITY, Required, "The higher the sooner."),
        member(
            "context",
            Kind::Object,
            Required,
            "What there's to know; the API doesn't look into it.",
        ),
        member("result", LONG_TEXT, Nullable, "What came of it."),
        CREATED_AT,
        STARTED_AT,
        COMPLETED_AT,
    ],
    example: documented(
        r#"{"id": "f1e2d3c4-b5a6-4978-8a9b-0c1d2e3f4a5b", "description": "Renew the certificate", "assigned_to": null, "status": "pending", "priority": 10, "context": {}, "result": null, "created_at": "2026-01-31T12:00:00.000001+00:00", "started_at": null, "completed_at": null}"#,
    ),
};

/// A new task outside workflows.
pub static TASK_CREATE: Schema = Schema {
    name: "TaskCreate",
    members: &[
        member("description", DESCRIPTION, Required, "What's to do."),
        member(
            "assigned_to",
            Kind::Reference(Target::Agent),
            OptionalNullable,
            "The agent that's to do it.",
        ),
        member(
            "priority",
            PRIORITY,
            Optional,
            "The higher the sooner; 0 where it isn't given.",
        ),
        member(
            "context",
            Kind::Object,
            Optional,
            "What there's to know; the API doesn't look into it.",
        ),
    ],
    example: documented(r#"{"description": "Renew the certificate", "priority": 10}"#),
};

/// The changes to a task outside workflows.
pub static TASK_UPDATE: Schema = Schema {
    name: "TaskUpdate",
    members: &[
        member("description", DESCRIPTION, Optional, "What's to do."),
        member(
            "assigned_to",
            Kind::Reference(Target::Agent),
            OptionalNullable,
            "The agent that's to do it.",
        ),
        member(
            "status",
            TASK_STATUS,
            Optional,
            "Its new state; its times follow.",
        ),
        member("priority", PRIORITY, Optional, "The higher the sooner."),
        member(
            "context",
            Kind::Object,
            Optional,
            "What there's to know; takes the place of what was there.",
        ),
        member("result", LONG_TEXT, OptionalNullable, "What came of it."),
    ],
    example: documented(r#"{"status": "completed", "result": "Valid until 2027."}"#),
};

/// The response of a component that is up.
pub static HEALTH: Schema = Schema {
    name: "Health",
    members: &[
        member("status", Kind::OneOf(&["healthy"]), Required, "It's up."),
        member(
            "version",
            Kind::Text { min: 1, max: 50 },
            Required,
            "Which version it is.",
        ),
    ],
    example: documented(r#"{"status": "healthy", "version": "0.1.0"}"#),
};

/// The response of a component that is ready.
pub static READINESS: Schema = Schema {
    name: "Readiness",
    members: &[member(
        "status",
        Kind::OneOf(&["ready"]),
        Required,
        "It can do its work.",
    )],
    example: documented(r#"{"status": "ready"}"#),
};

/// The numbers of agents, messages, tasks and workflows.
pub static STATS: Schema = Schema {
    name: "Stats",
    members: &[
        member("agents", Kind::Record(&STATS_AGENTS), Required, "Agents."),
        member(
            "messages",
            Kind::Record(&STATS_MESSAGES),
            Required,
            "Messages of all channels.",
        ),
        member(
            "tasks",
            Kind::Object,
            Required,
            "Tasks outside workflows, by status.",
        ),
        member("workflows", Kind::Object, Required, "Workflows, by status."),
        member(
            "counted_at",
            Kind::Time,
            Nullable,
            "When, where they were counted before; null where it's for this answer.",
        ),
    ],
    example: documented(
        r#"{"agents": {"total": 6, "active": 6, "busy": 0}, "messages": {"total": 1200, "is_estimate": false}, "tasks": {"pending": 1}, "workflows": {"executing": 2, "completed": 40}, "counted_at": null}"#,
    ),
};

/// The numbers of all, active and busy agents.
pub static STATS_AGENTS: Schema = Schema {
    name: "StatsAgents",
    members: &[
        member("total", COUNT, Required, "All."),
        member("active", COUNT, Required, "Those that take part."),
        member("busy", COUNT, Required, "Those that work on something."),
    ],
    example: documented(r#"{"total": 6, "active": 6, "busy": 0}"#),
};

/// The number of messages, counted or estimated.
pub static STATS_MESSAGES: Schema = Schema {
    name: "StatsMessages",
    members: &[
        member("total", COUNT, Required, "All."),
        member(
            "is_estimate",
            Kind::Boolean,
            Required,
            "Whether there are so many that they're estimated, not counted.",
        ),
    ],
    example: documented(r#"{"total": 1200, "is_estimate": false}"#),
};

/// The performance of all instances and of the database.
pub static PERFORMANCE_DATABASE: Schema = Schema {
    name: "PerformanceDatabase",
    members: &[
        member(
            "connection_pool",
            Kind::Object,
            Nullable,
            "The component's connections against the configured number.",
        ),
        member(
            "index_usage",
            Kind::List {
                of: &Kind::Object,
                max: 200,
            },
            Nullable,
            "How often each index was used.",
        ),
        member(
            "table_sizes",
            Kind::List {
                of: &Kind::Object,
                max: 200,
            },
            Nullable,
            "How large each table is, its indexes included.",
        ),
        member(
            "slow_query_logging",
            Kind::Object,
            Nullable,
            "What counts as slow, and how to see more.",
        ),
        member(
            "nfr_target",
            Kind::Text { min: 1, max: 100 },
            Required,
            "The requirement.",
        ),
        member(
            "index_contract",
            Kind::List {
                of: &Kind::Object,
                max: 16,
            },
            Nullable,
            "Each named index: whether it is as declared, the statements that need it, how often they ran and it was scanned in the window.",
        ),
        member(
            "advice",
            Kind::List {
                of: &Kind::Object,
                max: 200,
            },
            Required,
            "What is wrong or would be better otherwise, the worst first, with SQL that can be run as it is, statement by statement and not in a transaction.",
        ),
        member(
            "unavailable",
            Kind::List {
                of: &Kind::Object,
                max: 200,
            },
            Required,
            "The sections that are missing, which are null, or incomplete: each with the reason.",
        ),
        member(
            "top_statements",
            Kind::List {
                of: &Kind::Object,
                max: 10,
            },
            Nullable,
            "The ten that took the most time by pg_stat_statements.",
        ),
        member(
            "window",
            Kind::OneOf(Window::NAMES),
            Required,
            "How far back the rest looks.",
        ),
        member("from", Kind::Time, Nullable, "Since when."),
        member("to", Kind::Time, Nullable, "Until when."),
        member(
            "nfr",
            Kind::Object,
            Nullable,
            "Whether 95 % of queries took less than 100 ms: pass, fail, or insufficient_data under 100 of them.",
        ),
        member(
            "statements",
            Kind::List {
                of: &Kind::Object,
                max: 1000,
            },
            Nullable,
            "What each statement took, those first that took the most.",
        ),
        member(
            "routes",
            Kind::List {
                of: &Kind::Object,
                max: 1000,
            },
            Nullable,
            "What each route took, those first that took the most.",
        ),
        member(
            "histogram",
            Kind::List {
                of: &Kind::Object,
                max: 1000,
            },
            Nullable,
            "How many queries took how long.",
        ),
        member(
            "series",
            Kind::List {
                of: &Kind::Object,
                max: 10,
            },
            Nullable,
            "Percentiles over time, of all routes together and of the busiest.",
        ),
        member(
            "slow_queries",
            Kind::List {
                of: &Kind::Object,
                max: 15,
            },
            Nullable,
            "The slowest, with their plans.",
        ),
        member(
            "profiler",
            Kind::Object,
            Nullable,
            "What the profiler gathered, lost and cost.",
        ),
    ],
    example: documented(
        r#"{"connection_pool": {"pool_size": 64, "checked_in": 8, "checked_out": 2, "overflow": 0, "total_connections": 10}, "index_usage": [{"table": "agents", "index": "idx_agents_name", "scans": 1523, "tuples_read": 1523, "tuples_fetched": 1523}], "table_sizes": [{"table": "messages", "size": "2048 kB", "size_bytes": 2097152}], "slow_query_logging": {"recommendations": []}, "nfr_target": "< 100ms per query (95th percentile)", "index_contract": [], "advice": [], "unavailable": [{"section": "top_statements", "reason": "The extension pg_stat_statements is not installed in this database."}], "top_statements": null, "window": "15m", "from": "2026-01-31T12:00:00.000000Z", "to": "2026-01-31T12:15:00.000000Z", "nfr": {"verdict": "pass", "queries": 18231, "within_target": 0.9987, "p50_ms": 0.5, "p95_ms": 3.1, "p99_ms": 9.8}, "statements": [], "routes": [], "histogram": [], "series": [], "slow_queries": [], "profiler": {"gathered": 40211, "flushed": 40211, "lost": 0, "flushes": 71, "flush_ms": 1.9, "sampling": 1, "size_bytes": 98304}}"#,
    ),
};

pub static PERFORMANCE_CACHE: Schema = Schema {
    name: "PerformanceCache",
    members: &[
        member(
            "window",
            Kind::OneOf(Window::NAMES),
            Required,
            "How far back it looks.",
        ),
        member("from", Kind::Time, Nullable, "Since when."),
        member("to", Kind::Time, Required, "Until when."),
        member(
            "cache_seconds",
            Kind::Integer { min: 0, max: 3600 },
            Required,
            "How long what was read is kept; 0 where nothing is.",
        ),
        member(
            "total",
            Kind::Object,
            Required,
            "How often something was sought and found, and how long that took.",
        ),
        member(
            "statements",
            Kind::List {
                of: &Kind::Object,
                max: 1000,
            },
            Required,
            "The same by statement, the one first that was sought most.",
        ),
    ],
    example: documented(
        r#"{"window": "15m", "from": "2026-01-31T12:00:00.000000Z", "to": "2026-01-31T12:15:00.000000Z", "cache_seconds": 10, "total": {"lookups": 18231, "hits": 17935, "hit_rate": 0.983764, "errors": 0, "p50_ms": 0.04, "p95_ms": 0.09, "p99_ms": 0.21, "max_ms": 1.3}, "statements": [{"name": "agent_get", "lookups": 18231, "hits": 17935, "hit_rate": 0.983764, "errors": 0, "p50_ms": 0.04, "p95_ms": 0.09, "p99_ms": 0.21, "max_ms": 1.3}]}"#,
    ),
};

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use regex_lite::Regex;

    use super::{AGENT_NAME, AGENT_TYPE, Kind, NEW_AGENT_NAME};

    proptest! {
        #[test]
        fn pattern_matchers_agree_with_their_regexes(text in "[@a-zA-Z0-9_.éß\n -]{0,4}|@?[a-z0-9_]{48,101}") {
            for kind in [AGENT_NAME, NEW_AGENT_NAME, AGENT_TYPE] {
                let Kind::Pattern { regex, matches, .. } = kind else {
                    return Err(TestCaseError::fail("it is no pattern"));
                };
                let regex = Regex::new(regex).map_err(|error| TestCaseError::fail(error.to_string()))?;
                prop_assert_eq!(matches(&text), regex.is_match(&text), "{:?}", text);
            }
        }
    }
}
