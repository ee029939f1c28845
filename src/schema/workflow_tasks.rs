//! Tasks of a workflow.

use constcat::concat;

use super::{
    DESCRIPTION, FieldType, LONG_TEXT, ORDER_INDEX, Schema, Target, columns, filters, members,
};

const WORKFLOW_TASK_STATUS: FieldType = FieldType::OneOf(&[
    "pending",
    "ready",
    "in_progress",
    "completed",
    "failed",
    "skipped",
]);
const ERROR: FieldType = FieldType::Text {
    min: 0,
    max: 10_000,
};

columns! {
    id: "e7a1b9c0-5d3f-4e2a-9b8c-7d6e5f4a3b2c"
    workflow_id: "uuid" {
        row: FieldType::Uuid, Required, "Id of the task's workflow.", r#""c2b5d0f4-7f43-4f0e-8a5e-1d2f3a4b5c6d""#;
    }
    description: "text" {
        row: DESCRIPTION, Required, "Description of the task.", r#""Write the release notes""#;
        create: DESCRIPTION, Required, "Description of the task.";
    }
    agent_id: "uuid" {
        row: FieldType::Uuid, Nullable,
            "Id of the agent to which the task is assigned or that claimed it; null if there is none.", "null";
        create: FieldType::Reference(Target::Agent), OptionalNullable,
            "Id of the agent to which the task is assigned. If it is omitted or null, any agent can claim the task.";
    }
    order_index: "int" {
        row: ORDER_INDEX, Required, "Position of the task in the workflow.", "1";
        create: ORDER_INDEX, Optional, "Position in the workflow. If omitted, the task is added after all others; this is refused with 409 if the last task has order_index 100000.";
    }
    depends_on: "uuid[]" {
        row: FieldType::List { of: &FieldType::Uuid, max: 100 }, Required,
            "Ids of the tasks of the same workflow that must be completed or skipped before this task can start. Used only if execution_strategy is dag.", "[]";
        create: FieldType::List { of: &FieldType::Reference(Target::WorkflowTask), max: 100 }, Optional,
            "Ids of the tasks of the same workflow that must be completed or skipped before this task can start. Used only if execution_strategy is dag. Default: [].",
            sql "coalesce(depends_on, '{}')";
    }
    status: "text" {
        row: WORKFLOW_TASK_STATUS, Required, "Status of the task.", r#""pending""#;
        update: FieldType::OneOf(&["in_progress", "completed", "failed", "skipped"]), Optional,
            "New status of the task. If it is omitted, the task must be in_progress, and only output and error are updated.";
    }
    output: "text" {
        row: LONG_TEXT, Nullable, "Result of the task.", "null";
        update: LONG_TEXT, OptionalNullable, "New result of the task; null removes the result.";
    }
    error: "text" {
        row: ERROR, Nullable, "Reason why the task failed.", "null";
        update: ERROR, OptionalNullable, "New reason why the task failed; null removes the reason.";
    }
    created_at: "timestamptz" {
        row: FieldType::Time, Required, "When the row was created.", r#""2026-01-31T12:00:00.000001Z""#;
    }
    started_at: "timestamptz" {
        row: FieldType::Time, Nullable, "When the work began; null if it has not begun.", "null";
    }
    completed_at: "timestamptz" {
        row: FieldType::Time, Nullable, "When the work ended, successfully or not; null if it has not ended.", "null";
    }
}

/// A workflow's task.
pub static WORKFLOW_TASK: Schema = Schema {
    name: "WorkflowTask",
    members: ROW,
    example: concat!("{", EXAMPLE, "}"),
};

/// A new task for an existing workflow.
pub static WORKFLOW_TASK_CREATE: Schema = Schema {
    name: "WorkflowTaskCreate",
    members: CREATE,
    example: r#"{"description": "Tell the press"}"#,
};

/// The changes to a workflow's task.
pub static WORKFLOW_TASK_UPDATE: Schema = Schema {
    name: "WorkflowTaskUpdate",
    members: UPDATE,
    example: r#"{"status": "completed", "output": "The notes are in the wiki."}"#,
};

filters! {
    /// The filters of the list of a workflow's tasks.
    WORKFLOW_TASK_LIST:
    status: "status", "status", WORKFLOW_TASK_STATUS, "Only tasks with this status are returned.";
    [] uses ["idx_workflow_tasks_workflow_id", "idx_workflow_tasks_workflow_status"];
    ["status"] uses ["idx_workflow_tasks_workflow_status"];
}

/// An agent's request to claim a task.
pub static WORKFLOW_TASK_CLAIM: Schema = Schema {
    name: "WorkflowTaskClaim",
    members: members! {
        agent_id: FieldType::Reference(Target::Agent), Required, "Id of the agent that claims a task.";
        workflow_id: FieldType::Reference(Target::Workflow), OptionalNullable, "Id of the workflow whose tasks can be claimed. Default: tasks of all workflows can be claimed.";
    },
    example: r#"{"agent_id": "4a922d03-4c26-4ca9-a1ce-5625fd2f50f6"}"#,
};
