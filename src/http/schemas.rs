//! The schemas of request and response bodies, as openapi.json shows them.
//!
//! The component checks request bodies against these schemas. Statements build the response bodies, and every API test checks
//! them against these schemas.

use super::contract::Presence::{Nullable, Optional, OptionalNullable, Required};
use super::contract::{FieldType, Member, Pattern, Presence, Schema};
use crate::queries::fleet_report::Window;
use crate::queries::references::Target;

const fn member(
    name: &'static str,
    field_type: FieldType,
    presence: Presence,
    about: &'static str,
) -> Member {
    Member {
        name,
        field_type,
        presence,
        about,
    }
}

const COUNT: FieldType = FieldType::Integer {
    min: 0,
    max: i64::MAX,
};
const DESCRIPTION: FieldType = FieldType::Text {
    min: 1,
    max: 10_000,
};
const LONG_TEXT: FieldType = FieldType::Text {
    min: 0,
    max: 100_000,
};
const PRIORITY: FieldType = FieldType::Integer { min: 0, max: 100 };
const ORDER_INDEX: FieldType = FieldType::Integer {
    min: 0,
    max: 100_000,
};
const AUTHOR_TYPE: FieldType = FieldType::OneOf(&["user", "agent"]);
const NAME: FieldType = FieldType::Text { min: 1, max: 100 };
/// The name in a request that creates or renames something. Responses have [`NAME`], because older rows may have any name.
const NEW_NAME: FieldType = FieldType::Name { max: 100 };
const TOPIC: FieldType = FieldType::Text { min: 0, max: 500 };
const STRATEGY: FieldType = FieldType::OneOf(&["sequential", "parallel", "dag"]);

/// The states of a workflow.
pub const WORKFLOW_STATUS: FieldType = FieldType::OneOf(&[
    "pending",
    "planning",
    "executing",
    "completed",
    "failed",
    "cancelled",
]);
/// The states of a workflow's task.
pub const WORKFLOW_TASK_STATUS: FieldType = FieldType::OneOf(&[
    "pending",
    "ready",
    "in_progress",
    "completed",
    "failed",
    "skipped",
]);
/// The states of a task outside workflows.
pub const TASK_STATUS: FieldType =
    FieldType::OneOf(&["pending", "in_progress", "completed", "failed"]);
/// The type of an agent, a word that each installation chooses.
pub const AGENT_TYPE: FieldType = FieldType::Pattern {
    regex: &AGENT_TYPE_REGEX,
    form: "must be a lower-case word of up to 50 letters, digits and _",
};
static AGENT_TYPE_REGEX: Pattern = Pattern::new("^[a-z][a-z0-9_]{0,49}$");
const AGENT_NAME: FieldType = FieldType::Pattern {
    regex: &AGENT_NAME_REGEX,
    form: "must be up to 99 letters, digits, _ . and -, with or without a leading @",
};
static AGENT_NAME_REGEX: Pattern = Pattern::new("^@?[A-Za-z0-9_.-]{1,99}$");
/// The name in a request that creates or renames an agent. It can't begin with a dot, because clients resolve
/// `/api/agents/name/..` before they send it.
const NEW_AGENT_NAME: FieldType = FieldType::Pattern {
    regex: &NEW_AGENT_NAME_REGEX,
    form: "must be up to 99 letters, digits, _ . and -, not beginning with a dot, with or without a leading @",
};
static NEW_AGENT_NAME_REGEX: Pattern = Pattern::new("^@?[A-Za-z0-9_-][A-Za-z0-9_.-]{0,98}$");

const ID: Member = member("id", FieldType::Uuid, Required, "Id of the row.");
const CREATED_AT: Member = member(
    "created_at",
    FieldType::Time,
    Required,
    "When the row was created.",
);
const UPDATED_AT: Member = member(
    "updated_at",
    FieldType::Time,
    Required,
    "When the row was last changed.",
);
const STARTED_AT: Member = member(
    "started_at",
    FieldType::Time,
    Nullable,
    "When the work began; null if it has not begun.",
);
const COMPLETED_AT: Member = member(
    "completed_at",
    FieldType::Time,
    Nullable,
    "When the work ended, successfully or not; null if it has not ended.",
);
const MESSAGE: Member = member(
    "message",
    FieldType::Text { min: 1, max: 1000 },
    Required,
    "Result of the action, as a sentence.",
);

/// The persona of an agent.
pub static PERSONA: Schema = Schema {
    name: "Persona",
    members: &[
        member(
            "role",
            FieldType::Text { min: 0, max: 500 },
            Optional,
            "Role of the agent.",
        ),
        member(
            "goal",
            FieldType::Text { min: 0, max: 2000 },
            Optional,
            "Goal of the agent.",
        ),
        member(
            "backstory",
            FieldType::Text {
                min: 0,
                max: 10_000,
            },
            Optional,
            "Background of the agent.",
        ),
        member(
            "capabilities",
            FieldType::List {
                of: &FieldType::Text { min: 1, max: 100 },
                max: 100,
            },
            Optional,
            "Capabilities of the agent, each as a word or a short phrase.",
        ),
    ],
    example: r#"{"role": "Backend developer", "goal": "Build services that are fast", "backstory": "Writes the test first.", "capabilities": ["apis", "databases"]}"#,
};

macro_rules! agent_members {
    ($($more:expr),*) => {
        &[
            ID,
            member("name", AGENT_NAME, Required, "Name of the agent, with a leading @, as in mentions."),
            member("agent_type", AGENT_TYPE, Required, "Type of the agent. Each installation chooses its own types."),
            member("persona", FieldType::Record(&PERSONA), Required, "Persona of the agent."),
            member("config", FieldType::Object, Required, "Settings of the agent, as a JSON object. The API stores them unchanged."),
            member("is_active", FieldType::Boolean, Required, "Whether the agent is active. An inactive agent cannot claim tasks."),
            member("is_busy", FieldType::Boolean, Required, "Whether the agent is busy."),
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
    example: r#"{"id": "4a922d03-4c26-4ca9-a1ce-5625fd2f50f6", "name": "@backend", "agent_type": "developer", "persona": {"role": "Backend developer"}, "config": {}, "is_active": true, "is_busy": false, "created_at": "2026-01-31T12:00:00.000001+00:00", "updated_at": "2026-01-31T12:00:00.000001+00:00"}"#,
};

/// An agent after an action, with a message about the action.
pub static AGENT_ACTION: Schema = Schema {
    name: "AgentAction",
    members: agent_members!(MESSAGE),
    example: r#"{"id": "4a922d03-4c26-4ca9-a1ce-5625fd2f50f6", "name": "@backend", "agent_type": "developer", "persona": {"role": "Backend developer"}, "config": {}, "is_active": true, "is_busy": false, "created_at": "2026-01-31T12:00:00.000001+00:00", "updated_at": "2026-01-31T12:00:00.000001+00:00", "message": "Agent @backend is active now."}"#,
};

/// Whether an agent is online, and whether it is busy.
pub static AGENT_STATUS: Schema = Schema {
    name: "AgentStatus",
    members: &[
        ID,
        member(
            "name",
            AGENT_NAME,
            Required,
            "Name of the agent, with the leading @.",
        ),
        member(
            "agent_type",
            AGENT_TYPE,
            Required,
            "Type of the agent. Each installation chooses its own types.",
        ),
        member(
            "status",
            FieldType::OneOf(&["online", "offline"]),
            Required,
            "Status of the agent: online if it is active, otherwise offline.",
        ),
        member(
            "is_busy",
            FieldType::Boolean,
            Required,
            "Whether the agent is busy.",
        ),
    ],
    example: r#"{"id": "4a922d03-4c26-4ca9-a1ce-5625fd2f50f6", "name": "@backend", "agent_type": "developer", "status": "online", "is_busy": false}"#,
};

/// A new agent.
pub static AGENT_CREATE: Schema = Schema {
    name: "AgentCreate",
    members: &[
        member(
            "name",
            NEW_AGENT_NAME,
            Required,
            "Name of the agent, with or without the leading @. It must be unique among agents.",
        ),
        member(
            "agent_type",
            AGENT_TYPE,
            Required,
            "Type of the agent. Each installation chooses its own types.",
        ),
        member(
            "persona",
            FieldType::Record(&PERSONA),
            Optional,
            "Persona of the agent. Default: {}.",
        ),
        member(
            "config",
            FieldType::Object,
            Optional,
            "Settings of the agent, as any JSON object of at most 16 KiB and 60 levels of nesting. The API stores them unchanged. Default: {}.",
        ),
        member(
            "is_active",
            FieldType::Boolean,
            Optional,
            "Whether the agent is active. Default: true.",
        ),
    ],
    example: r#"{"name": "@writer", "agent_type": "writer", "persona": {"role": "Writer", "capabilities": ["editing"]}}"#,
};

/// The changes to an agent.
pub static AGENT_UPDATE: Schema = Schema {
    name: "AgentUpdate",
    members: &[
        member(
            "name",
            NEW_AGENT_NAME,
            Optional,
            "New name of the agent, with or without the leading @. It must be unique among agents.",
        ),
        member("agent_type", AGENT_TYPE, Optional, "New type of the agent."),
        member(
            "persona",
            FieldType::Record(&PERSONA),
            Optional,
            "New persona of the agent. It replaces the previous persona completely.",
        ),
        member(
            "config",
            FieldType::Object,
            Optional,
            "New settings of the agent, as any JSON object of at most 16 KiB and 60 levels of nesting. The API stores them unchanged. They replace the previous settings completely.",
        ),
        member(
            "is_active",
            FieldType::Boolean,
            Optional,
            "Whether the agent is active.",
        ),
        member(
            "is_busy",
            FieldType::Boolean,
            Optional,
            "Whether the agent is busy.",
        ),
    ],
    example: r#"{"is_busy": true}"#,
};

const CHANNEL_TYPE: FieldType = FieldType::OneOf(&["public", "private", "dm"]);
/// The channel types that a client can set. A direct-message channel is created through its agent.
const OPEN_CHANNEL_TYPE: FieldType = FieldType::OneOf(&["public", "private"]);

macro_rules! channel_members {
    ($($more:expr),*) => {
        &[
            ID,
            member("name", NAME, Required, "Name of the channel."),
            member("topic", TOPIC, Nullable, "Topic of the channel."),
            member("channel_type", CHANNEL_TYPE, Required, "Type of the channel; dm is a direct-message channel with an agent."),
            member("dm_agent_id", FieldType::Uuid, Nullable, "Id of the agent, if this is a direct-message channel, otherwise null."),
            member("is_archived", FieldType::Boolean, Required, "Whether the channel is archived. An archived channel accepts no new messages."),
            member("context_cleared_at", FieldType::Time, Nullable, "Messages before this time are hidden from the channel's history; null if the history was never cleared."),
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
    example: r#"{"id": "0b0aa6a4-2c0f-4b38-8f0b-6a5a3c1d9a10", "name": "general", "topic": "Everything else", "channel_type": "public", "dm_agent_id": null, "is_archived": false, "context_cleared_at": null, "created_at": "2026-01-31T12:00:00.000001+00:00", "updated_at": "2026-01-31T12:00:00.000001+00:00"}"#,
};

/// A channel after an action, with a message about the action.
pub static CHANNEL_ACTION: Schema = Schema {
    name: "ChannelAction",
    members: channel_members!(MESSAGE),
    example: r#"{"id": "0b0aa6a4-2c0f-4b38-8f0b-6a5a3c1d9a10", "name": "general", "topic": null, "channel_type": "public", "dm_agent_id": null, "is_archived": true, "context_cleared_at": null, "created_at": "2026-01-31T12:00:00.000001+00:00", "updated_at": "2026-01-31T12:00:00.000001+00:00", "message": "Channel general is archived; its messages stay."}"#,
};

/// A new channel.
pub static CHANNEL_CREATE: Schema = Schema {
    name: "ChannelCreate",
    members: &[
        member(
            "name",
            NEW_NAME,
            Required,
            "Name of the channel. It must be unique among public and private channels.",
        ),
        member(
            "topic",
            TOPIC,
            OptionalNullable,
            "Topic of the channel. Default: null.",
        ),
        member(
            "channel_type",
            OPEN_CHANNEL_TYPE,
            Optional,
            "Type of the channel. Default: public.",
        ),
    ],
    example: r#"{"name": "release-2", "topic": "What goes into the second release"}"#,
};

/// The changes to a channel.
pub static CHANNEL_UPDATE: Schema = Schema {
    name: "ChannelUpdate",
    members: &[
        member(
            "name",
            NEW_NAME,
            Optional,
            "New name of the channel. It must be unique among public and private channels.",
        ),
        member(
            "topic",
            TOPIC,
            OptionalNullable,
            "New topic of the channel; null removes the topic.",
        ),
        member(
            "channel_type",
            OPEN_CHANNEL_TYPE,
            Optional,
            "New type of the channel.",
        ),
    ],
    example: r#"{"topic": "What went into the second release"}"#,
};

/// A message.
pub static CHANNEL_MESSAGE: Schema = Schema {
    name: "Message",
    members: &[
        ID,
        member(
            "channel_id",
            FieldType::Uuid,
            Required,
            "Id of the message's channel.",
        ),
        member(
            "author_id",
            FieldType::Uuid,
            Nullable,
            "Id of the author; null if none was given.",
        ),
        member(
            "author_type",
            AUTHOR_TYPE,
            Required,
            "Type of the author: a person (user) or an agent.",
        ),
        member("author_name", NAME, Required, "Name of the author."),
        member(
            "content",
            FieldType::Text {
                min: 1,
                max: 100_000,
            },
            Required,
            "Text of the message.",
        ),
        member(
            "thread_id",
            FieldType::Uuid,
            Nullable,
            "Id of the message that began the thread; null if the message is not in a thread.",
        ),
        member(
            "metadata",
            FieldType::Object,
            Required,
            "Additional data from the author, as a JSON object. The API stores it unchanged.",
        ),
        CREATED_AT,
    ],
    example: r#"{"id": "7d0c0f2e-13f8-4b9e-9a52-0b3c9b1d6a3f", "channel_id": "0b0aa6a4-2c0f-4b38-8f0b-6a5a3c1d9a10", "author_id": null, "author_type": "user", "author_name": "maria", "content": "@backend, can you look at this?", "thread_id": null, "metadata": {}, "created_at": "2026-01-31T12:00:00.000001+00:00"}"#,
};

/// A new message.
pub static MESSAGE_CREATE: Schema = Schema {
    name: "MessageCreate",
    members: &[
        member(
            "content",
            FieldType::Text {
                min: 1,
                max: 100_000,
            },
            Required,
            "Text of the message.",
        ),
        member(
            "author_type",
            AUTHOR_TYPE,
            Optional,
            "Type of the author: a person (user) or an agent. Default: user.",
        ),
        member(
            "author_id",
            FieldType::AgentWhere {
                member: "author_type",
                is: "agent",
            },
            OptionalNullable,
            "Id of the author. Default: null. If author_type is agent, the id is required, and the agent must exist.",
        ),
        member(
            "author_name",
            NEW_NAME,
            Optional,
            "Name of the author. Default: the agent's name if author_type is agent; otherwise the text `user`.",
        ),
        member(
            "thread_id",
            FieldType::Reference(Target::Message),
            OptionalNullable,
            "Id of the message that began the thread. It must be in the same channel. Default: null.",
        ),
        member(
            "metadata",
            FieldType::Object,
            Optional,
            "Additional data from the author, as any JSON object of at most 16 KiB and 60 levels of nesting. The API stores it unchanged. Default: {}.",
        ),
    ],
    example: r#"{"content": "@backend, can you look at this?", "author_name": "maria"}"#,
};

macro_rules! workflow_members {
    ($($more:expr),*) => {
        &[
            ID,
            member("description", DESCRIPTION, Required, "Goal of the workflow."),
            member("orchestrator_id", FieldType::Uuid, Nullable, "Id of the agent that orchestrates the workflow."),
            member("channel_id", FieldType::Uuid, Nullable, "Id of the channel in which the workflow is discussed."),
            member("status", WORKFLOW_STATUS, Required, "Status of the workflow."),
            member("execution_strategy", STRATEGY, Required, "Order of the tasks: sequential (one after another by order_index), parallel (all at once), or dag (each after the tasks in its depends_on)."),
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
    example: r#"{"id": "c2b5d0f4-7f43-4f0e-8a5e-1d2f3a4b5c6d", "description": "Ship the second release", "orchestrator_id": "4a922d03-4c26-4ca9-a1ce-5625fd2f50f6", "channel_id": null, "status": "pending", "execution_strategy": "dag", "created_at": "2026-01-31T12:00:00.000001+00:00", "started_at": null, "completed_at": null}"#,
};

/// A workflow after an action, with a message about the action.
pub static WORKFLOW_ACTION: Schema = Schema {
    name: "WorkflowAction",
    members: workflow_members!(MESSAGE),
    example: r#"{"id": "c2b5d0f4-7f43-4f0e-8a5e-1d2f3a4b5c6d", "description": "Ship the second release", "orchestrator_id": "4a922d03-4c26-4ca9-a1ce-5625fd2f50f6", "channel_id": null, "status": "executing", "execution_strategy": "dag", "created_at": "2026-01-31T12:00:00.000001+00:00", "started_at": "2026-01-31T12:00:01.000001+00:00", "completed_at": null, "message": "Workflow c2b5d0f4-7f43-4f0e-8a5e-1d2f3a4b5c6d is executing."}"#,
};

/// A workflow with its tasks.
pub static WORKFLOW_WITH_TASKS: Schema = Schema {
    name: "WorkflowWithTasks",
    members: workflow_members!(member(
        "workflow_tasks",
        FieldType::List {
            of: &FieldType::Record(&WORKFLOW_TASK),
            max: 1000
        },
        Required,
        "Tasks of the workflow, by position."
    )),
    example: r#"{"id": "c2b5d0f4-7f43-4f0e-8a5e-1d2f3a4b5c6d", "description": "Ship the second release", "orchestrator_id": "4a922d03-4c26-4ca9-a1ce-5625fd2f50f6", "channel_id": null, "status": "pending", "execution_strategy": "dag", "created_at": "2026-01-31T12:00:00.000001+00:00", "started_at": null, "completed_at": null, "workflow_tasks": []}"#,
};

/// A task in the request that creates its workflow.
pub static WORKFLOW_CREATE_TASK: Schema = Schema {
    name: "WorkflowCreateTask",
    members: &[
        member(
            "description",
            DESCRIPTION,
            Required,
            "Description of the task.",
        ),
        member(
            "agent_id",
            FieldType::Reference(Target::Agent),
            OptionalNullable,
            "Id of the agent to which the task is assigned. If it is omitted or null, any agent can claim the task.",
        ),
        member(
            "order_index",
            ORDER_INDEX,
            Optional,
            "Position of the task in the workflow. Default: the task's position in this list, counted from 0.",
        ),
        member(
            "depends_on",
            FieldType::List {
                of: &FieldType::EarlierPosition,
                max: 100,
            },
            Optional,
            "Positions in this list, counted from 0, of earlier tasks that must be completed or skipped before this task can start. Used only if execution_strategy is dag. Default: [].",
        ),
    ],
    example: r#"{"description": "Write the release notes", "depends_on": []}"#,
};

/// A new workflow.
pub static WORKFLOW_CREATE: Schema = Schema {
    name: "WorkflowCreate",
    members: &[
        member(
            "description",
            DESCRIPTION,
            Required,
            "Goal of the workflow.",
        ),
        member(
            "orchestrator_id",
            FieldType::Reference(Target::Agent),
            OptionalNullable,
            "Id of the agent that orchestrates the workflow. Default: the oldest active agent of the type orchestrator; if there is none, the request is refused with 409.",
        ),
        member(
            "channel_id",
            FieldType::Reference(Target::Channel),
            OptionalNullable,
            "Id of the channel in which the workflow is discussed. Default: null.",
        ),
        member(
            "execution_strategy",
            STRATEGY,
            Optional,
            "Order of the tasks: sequential (one after another by order_index), parallel (all at once), or dag (each after the tasks in its depends_on). Default: sequential.",
        ),
        member(
            "tasks",
            FieldType::List {
                of: &FieldType::Record(&WORKFLOW_CREATE_TASK),
                max: 100,
            },
            Optional,
            "First tasks of the workflow. Default: [].",
        ),
    ],
    example: r#"{"description": "Ship the second release", "execution_strategy": "dag", "tasks": [{"description": "Freeze the code"}, {"description": "Write the release notes", "depends_on": [0]}]}"#,
};

/// A workflow's task.
pub static WORKFLOW_TASK: Schema = Schema {
    name: "WorkflowTask",
    members: &[
        ID,
        member(
            "workflow_id",
            FieldType::Uuid,
            Required,
            "Id of the task's workflow.",
        ),
        member(
            "description",
            DESCRIPTION,
            Required,
            "Description of the task.",
        ),
        member(
            "agent_id",
            FieldType::Uuid,
            Nullable,
            "Id of the agent to which the task is assigned or that claimed it; null if there is none.",
        ),
        member(
            "order_index",
            ORDER_INDEX,
            Required,
            "Position of the task in the workflow.",
        ),
        member(
            "depends_on",
            FieldType::List {
                of: &FieldType::Uuid,
                max: 100,
            },
            Required,
            "Ids of the tasks of the same workflow that must be completed or skipped before this task can start. Used only if execution_strategy is dag.",
        ),
        member(
            "status",
            WORKFLOW_TASK_STATUS,
            Required,
            "Status of the task.",
        ),
        member("output", LONG_TEXT, Nullable, "Result of the task."),
        member(
            "error",
            FieldType::Text {
                min: 0,
                max: 10_000,
            },
            Nullable,
            "Reason why the task failed.",
        ),
        CREATED_AT,
        STARTED_AT,
        COMPLETED_AT,
    ],
    example: r#"{"id": "e7a1b9c0-5d3f-4e2a-9b8c-7d6e5f4a3b2c", "workflow_id": "c2b5d0f4-7f43-4f0e-8a5e-1d2f3a4b5c6d", "description": "Write the release notes", "agent_id": null, "order_index": 1, "depends_on": [], "status": "pending", "output": null, "error": null, "created_at": "2026-01-31T12:00:00.000001+00:00", "started_at": null, "completed_at": null}"#,
};

/// A new task for an existing workflow.
pub static WORKFLOW_TASK_CREATE: Schema = Schema {
    name: "WorkflowTaskCreate",
    members: &[
        member(
            "description",
            DESCRIPTION,
            Required,
            "Description of the task.",
        ),
        member(
            "agent_id",
            FieldType::Reference(Target::Agent),
            OptionalNullable,
            "Id of the agent to which the task is assigned. If it is omitted or null, any agent can claim the task.",
        ),
        member(
            "order_index",
            ORDER_INDEX,
            Optional,
            "Position in the workflow. If omitted, the task is added after all others; this is refused with 409 if the last task has order_index 100000.",
        ),
        member(
            "depends_on",
            FieldType::List {
                of: &FieldType::Reference(Target::WorkflowTask),
                max: 100,
            },
            Optional,
            "Ids of the tasks of the same workflow that must be completed or skipped before this task can start. Used only if execution_strategy is dag. Default: [].",
        ),
    ],
    example: r#"{"description": "Tell the press"}"#,
};

/// The changes to a workflow's task.
pub static WORKFLOW_TASK_UPDATE: Schema = Schema {
    name: "WorkflowTaskUpdate",
    members: &[
        member(
            "status",
            FieldType::OneOf(&["in_progress", "completed", "failed", "skipped"]),
            Optional,
            "New status of the task. If it is omitted, the task must be in_progress, and only output and error are updated.",
        ),
        member(
            "output",
            LONG_TEXT,
            OptionalNullable,
            "New result of the task; null removes the result.",
        ),
        member(
            "error",
            FieldType::Text {
                min: 0,
                max: 10_000,
            },
            OptionalNullable,
            "New reason why the task failed; null removes the reason.",
        ),
    ],
    example: r#"{"status": "completed", "output": "The notes are in the wiki."}"#,
};

/// An agent's request to claim a task.
pub static WORKFLOW_TASK_CLAIM: Schema = Schema {
    name: "WorkflowTaskClaim",
    members: &[
        member(
            "agent_id",
            FieldType::Reference(Target::Agent),
            Required,
            "Id of the agent that claims a task.",
        ),
        member(
            "workflow_id",
            FieldType::Reference(Target::Workflow),
            OptionalNullable,
            "Id of the workflow whose tasks can be claimed. Default: tasks of all workflows can be claimed.",
        ),
    ],
    example: r#"{"agent_id": "4a922d03-4c26-4ca9-a1ce-5625fd2f50f6"}"#,
};

/// A task outside workflows.
pub static TASK: Schema = Schema {
    name: "Task",
    members: &[
        ID,
        member(
            "description",
            DESCRIPTION,
            Required,
            "Description of the task.",
        ),
        member(
            "assigned_to",
            FieldType::Uuid,
            Nullable,
            "Id of the agent to which the task is assigned; null if it is not assigned.",
        ),
        member("status", TASK_STATUS, Required, "Status of the task."),
        member(
            "priority",
            PRIORITY,
            Required,
            "Priority of the task; a higher number is more urgent.",
        ),
        member(
            "context",
            FieldType::Object,
            Required,
            "Information for the task, as a JSON object. The API stores it unchanged.",
        ),
        member("result", LONG_TEXT, Nullable, "Result of the task."),
        CREATED_AT,
        STARTED_AT,
        COMPLETED_AT,
    ],
    example: r#"{"id": "f1e2d3c4-b5a6-4978-8a9b-0c1d2e3f4a5b", "description": "Renew the certificate", "assigned_to": null, "status": "pending", "priority": 10, "context": {}, "result": null, "created_at": "2026-01-31T12:00:00.000001+00:00", "started_at": null, "completed_at": null}"#,
};

/// A new task outside workflows.
pub static TASK_CREATE: Schema = Schema {
    name: "TaskCreate",
    members: &[
        member(
            "description",
            DESCRIPTION,
            Required,
            "Description of the task.",
        ),
        member(
            "assigned_to",
            FieldType::Reference(Target::Agent),
            OptionalNullable,
            "Id of the agent to which the task is assigned. Default: null.",
        ),
        member(
            "priority",
            PRIORITY,
            Optional,
            "Priority of the task; a higher number is more urgent. Default: 0.",
        ),
        member(
            "context",
            FieldType::Object,
            Optional,
            "Information for the task, as any JSON object of at most 16 KiB and 60 levels of nesting. The API stores it unchanged. Default: {}.",
        ),
    ],
    example: r#"{"description": "Renew the certificate", "priority": 10}"#,
};

/// The changes to a task outside workflows.
pub static TASK_UPDATE: Schema = Schema {
    name: "TaskUpdate",
    members: &[
        member(
            "description",
            DESCRIPTION,
            Optional,
            "New description of the task.",
        ),
        member(
            "assigned_to",
            FieldType::Reference(Target::Agent),
            OptionalNullable,
            "Id of the agent to which the task is assigned; null removes the assignment.",
        ),
        member(
            "status",
            TASK_STATUS,
            Optional,
            "New status of the task. The API sets started_at and completed_at to match: pending clears both, in_progress sets started_at and clears completed_at, completed and failed set both. A time that is already set is kept.",
        ),
        member(
            "priority",
            PRIORITY,
            Optional,
            "New priority of the task; a higher number is more urgent.",
        ),
        member(
            "context",
            FieldType::Object,
            Optional,
            "New information for the task, as any JSON object of at most 16 KiB and 60 levels of nesting. The API stores it unchanged. It replaces the previous information completely.",
        ),
        member(
            "result",
            LONG_TEXT,
            OptionalNullable,
            "New result of the task; null removes the result.",
        ),
    ],
    example: r#"{"status": "completed", "result": "Valid until 2027."}"#,
};

/// The response of a component that is up.
pub static HEALTH: Schema = Schema {
    name: "Health",
    members: &[
        member(
            "status",
            FieldType::OneOf(&["healthy"]),
            Required,
            "The component is running.",
        ),
        member(
            "version",
            FieldType::Text { min: 1, max: 50 },
            Required,
            "Version of the component.",
        ),
    ],
    example: r#"{"status": "healthy", "version": "0.1.0"}"#,
};

/// The response of a component that is ready.
pub static READINESS: Schema = Schema {
    name: "Readiness",
    members: &[member(
        "status",
        FieldType::OneOf(&["ready"]),
        Required,
        "The component is ready to serve requests.",
    )],
    example: r#"{"status": "ready"}"#,
};

/// The numbers of agents, messages, tasks and workflows.
pub static STATS: Schema = Schema {
    name: "Stats",
    members: &[
        member(
            "agents",
            FieldType::Record(&STATS_AGENTS),
            Required,
            "Numbers of agents.",
        ),
        member(
            "messages",
            FieldType::Record(&STATS_MESSAGES),
            Required,
            "Number of messages in all channels.",
        ),
        member(
            "tasks",
            FieldType::Object,
            Required,
            "Number of tasks outside workflows for each status.",
        ),
        member(
            "workflows",
            FieldType::Object,
            Required,
            "Number of workflows for each status.",
        ),
        member(
            "counted_at",
            FieldType::Time,
            Nullable,
            "When the rows were counted, if the numbers come from an earlier count; null if the rows were counted for this response.",
        ),
    ],
    example: r#"{"agents": {"total": 6, "active": 6, "busy": 0}, "messages": {"total": 1200, "is_estimate": false}, "tasks": {"pending": 1}, "workflows": {"executing": 2, "completed": 40}, "counted_at": null}"#,
};

/// The numbers of all, active and busy agents.
pub static STATS_AGENTS: Schema = Schema {
    name: "StatsAgents",
    members: &[
        member("total", COUNT, Required, "Number of all agents."),
        member("active", COUNT, Required, "Number of active agents."),
        member("busy", COUNT, Required, "Number of busy agents."),
    ],
    example: r#"{"total": 6, "active": 6, "busy": 0}"#,
};

/// The number of messages, counted or estimated.
pub static STATS_MESSAGES: Schema = Schema {
    name: "StatsMessages",
    members: &[
        member("total", COUNT, Required, "Number of all messages."),
        member(
            "is_estimate",
            FieldType::Boolean,
            Required,
            "Whether the number is an estimate. It is exact below 100,000 messages.",
        ),
    ],
    example: r#"{"total": 1200, "is_estimate": false}"#,
};

/// The performance of all instances and of the database.
pub static PERFORMANCE_DATABASE: Schema = Schema {
    name: "PerformanceDatabase",
    members: &[
        member(
            "connection_pool",
            FieldType::Object,
            Nullable,
            "Open connections of the component by state, and the configured pool size.",
        ),
        member(
            "index_usage",
            FieldType::List {
                of: &FieldType::Object,
                max: 200,
            },
            Nullable,
            "Number of scans of each index since the database's statistics were reset, the most scanned first.",
        ),
        member(
            "table_sizes",
            FieldType::List {
                of: &FieldType::Object,
                max: 200,
            },
            Nullable,
            "Size of each table, including its indexes, the largest first.",
        ),
        member(
            "slow_query_logging",
            FieldType::Object,
            Nullable,
            "Thresholds in milliseconds from which queries and requests are logged as slow, and recommendations for logging more of them.",
        ),
        member(
            "nfr_target",
            FieldType::Text { min: 1, max: 100 },
            Required,
            "The performance requirement, as text.",
        ),
        member(
            "index_contract",
            FieldType::List {
                of: &FieldType::Object,
                max: 16,
            },
            Nullable,
            "The state of each named index compared to its definition, the statements that need the index, and the numbers of scans and calls in the period.",
        ),
        member(
            "advice",
            FieldType::List {
                of: &FieldType::Object,
                max: 200,
            },
            Required,
            "Errors and possible improvements, the most severe first. The member sql can be run as it is, one statement at a time and outside a transaction.",
        ),
        member(
            "unavailable",
            FieldType::List {
                of: &FieldType::Object,
                max: 200,
            },
            Required,
            "Sections that are missing (their value is null) or incomplete, each with the reason.",
        ),
        member(
            "top_statements",
            FieldType::List {
                of: &FieldType::Object,
                max: 10,
            },
            Nullable,
            "The ten statements with the largest total duration, from pg_stat_statements.",
        ),
        member(
            "window",
            FieldType::OneOf(Window::NAMES),
            Required,
            "Period that the measurements cover, up to now.",
        ),
        member("from", FieldType::Time, Nullable, "Start of the period."),
        member("to", FieldType::Time, Nullable, "End of the period."),
        member(
            "nfr",
            FieldType::Object,
            Nullable,
            "Verdict on the requirement, which target_ms and target_percent repeat: pass, fail, or insufficient_data if it judged fewer than 100 queries. The percentiles include queries that another target judged.",
        ),
        member(
            "statements",
            FieldType::List {
                of: &FieldType::Object,
                max: 1000,
            },
            Nullable,
            "Durations of each statement, the largest total duration first.",
        ),
        member(
            "routes",
            FieldType::List {
                of: &FieldType::Object,
                max: 1000,
            },
            Nullable,
            "Durations of each route's requests, the largest total duration first.",
        ),
        member(
            "histogram",
            FieldType::List {
                of: &FieldType::Object,
                max: 1000,
            },
            Nullable,
            "Number of queries by duration.",
        ),
        member(
            "series",
            FieldType::List {
                of: &FieldType::Object,
                max: 10,
            },
            Nullable,
            "Percentiles of request durations over time, for all routes together and for each of the busiest routes.",
        ),
        member(
            "slow_queries",
            FieldType::List {
                of: &FieldType::Object,
                max: 60,
            },
            Nullable,
            "The slowest queries, with their plans: for each statement, the three slowest runs and the newest run.",
        ),
        member(
            "profiler",
            FieldType::Object,
            Nullable,
            "Numbers of measurements that the profiler recorded, wrote and lost, and the cost of writing them.",
        ),
    ],
    example: r#"{"connection_pool": {"pool_size": 64, "checked_in": 8, "checked_out": 2, "overflow": 0, "total_connections": 10}, "index_usage": [{"table": "agents", "index": "idx_agents_name", "scans": 1523, "tuples_read": 1523, "tuples_fetched": 1523}], "table_sizes": [{"table": "messages", "size": "2048 kB", "size_bytes": 2097152}], "slow_query_logging": {"recommendations": []}, "nfr_target": "< 100ms per query (95th percentile)", "index_contract": [], "advice": [], "unavailable": [{"section": "top_statements", "reason": "The extension pg_stat_statements is not installed in this database."}], "top_statements": null, "window": "15m", "from": "2026-01-31T12:00:00.000000Z", "to": "2026-01-31T12:15:00.000000Z", "nfr": {"verdict": "pass", "target_ms": 100, "target_percent": 95, "queries": 18231, "within_target": 0.9987, "p50_ms": 0.5, "p95_ms": 3.1, "p99_ms": 9.8}, "statements": [], "routes": [], "histogram": [], "series": [], "slow_queries": [], "profiler": {"gathered": 40211, "flushed": 40211, "lost": 0, "flushes": 71, "flush_ms": 1.9, "sampling": 1, "size_bytes": 98304}}"#,
};

pub static PERFORMANCE_CACHE: Schema = Schema {
    name: "PerformanceCache",
    members: &[
        member(
            "window",
            FieldType::OneOf(Window::NAMES),
            Required,
            "Period that the measurements cover, up to now.",
        ),
        member("from", FieldType::Time, Nullable, "Start of the period."),
        member("to", FieldType::Time, Required, "End of the period."),
        member(
            "cache_seconds",
            FieldType::Integer { min: 0, max: 3600 },
            Required,
            "How long cached data stays valid, in seconds; 0 if nothing is cached.",
        ),
        member(
            "total",
            FieldType::Object,
            Required,
            "Numbers of cache lookups, hits and errors, the hit rate, and the durations of lookups in milliseconds.",
        ),
        member(
            "statements",
            FieldType::List {
                of: &FieldType::Object,
                max: 1000,
            },
            Required,
            "The same numbers for each statement, sorted by lookups in descending order.",
        ),
    ],
    example: r#"{"window": "15m", "from": "2026-01-31T12:00:00.000000Z", "to": "2026-01-31T12:15:00.000000Z", "cache_seconds": 10, "total": {"lookups": 18231, "hits": 17935, "hit_rate": 0.983764, "errors": 0, "p50_ms": 0.04, "p95_ms": 0.09, "p99_ms": 0.21, "max_ms": 1.3}, "statements": [{"name": "agent_get", "lookups": 18231, "hits": 17935, "hit_rate": 0.983764, "errors": 0, "p50_ms": 0.04, "p95_ms": 0.09, "p99_ms": 0.21, "max_ms": 1.3}]}"#,
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_complete_texts_only() {
        let long = "a".repeat(99);
        for (pattern, good, bad) in [
            (
                &AGENT_TYPE_REGEX,
                &["a", "a_1"][..],
                &["", "A", "1a", "a-b", "a\n", "é"][..],
            ),
            (
                &AGENT_NAME_REGEX,
                &["a", "@a", ".", &long],
                &["", "@", "@@a", "a b", "a\n", "é"],
            ),
            (
                &NEW_AGENT_NAME_REGEX,
                &["a", "@a.b", &long],
                &["", "@", ".a", "@.a", "a\n"],
            ),
        ] {
            for text in good {
                assert!(pattern.is_match(text), "{text:?}");
            }
            for text in bad.iter().copied().chain([&*format!("{long}aa")]) {
                assert!(!pattern.is_match(text), "{text:?}");
            }
        }
    }
}
