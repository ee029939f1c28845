//! Workflows.

use constcat::{concat, concat_slices};

use super::workflow_tasks::WORKFLOW_TASK;
use super::{
    DESCRIPTION, FieldType, MESSAGE, Member, ORDER_INDEX, Schema, Target, columns, filters, members,
};

const STRATEGY: FieldType = FieldType::OneOf(&["sequential", "parallel", "dag"]);
const WORKFLOW_STATUS: FieldType = FieldType::OneOf(&[
    "pending",
    "planning",
    "executing",
    "completed",
    "failed",
    "cancelled",
]);

columns! {
    id: "c2b5d0f4-7f43-4f0e-8a5e-1d2f3a4b5c6d"
    description: "text" {
        row: DESCRIPTION, Required, "Goal of the workflow.", r#""Ship the second release""#;
        create: DESCRIPTION, Required, "Goal of the workflow.";
    }
    orchestrator_id: "uuid" {
        row: FieldType::Uuid, Nullable, "Id of the agent that orchestrates the workflow.", r#""4a922d03-4c26-4ca9-a1ce-5625fd2f50f6""#;
        create: FieldType::Reference(Target::Agent), OptionalNullable,
            "Id of the agent that orchestrates the workflow. Default: the oldest active agent of the type orchestrator; if there is none, the request is refused with 409.",
            sql "orchestrator.id";
    }
    channel_id: "uuid" {
        row: FieldType::Uuid, Nullable, "Id of the channel in which the workflow is discussed.", "null";
        create: FieldType::Reference(Target::Channel), OptionalNullable,
            "Id of the channel in which the workflow is discussed. Default: null.";
    }
    status: "text" {
        row: WORKFLOW_STATUS, Required, "Status of the workflow.", r#""pending""#;
    }
    execution_strategy: "text" {
        row: STRATEGY, Required, "Order of the tasks: sequential (one after another by order_index), parallel (all at once), or dag (each after the tasks in its depends_on).", r#""dag""#;
        create: STRATEGY, Optional,
            "Order of the tasks: sequential (one after another by order_index), parallel (all at once), or dag (each after the tasks in its depends_on). Default: sequential.",
            sql "coalesce(execution_strategy, 'sequential')";
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

const TASKS: &[Member] = members! {
    workflow_tasks: FieldType::List { of: &FieldType::Record(&WORKFLOW_TASK), max: 1000 }, Required, "Tasks of the workflow, by position.";
};
const FIRST_TASKS: &[Member] = members! {
    tasks: FieldType::List { of: &FieldType::Record(&WORKFLOW_CREATE_TASK), max: 100 }, Optional, "First tasks of the workflow. Default: [].";
};

/// A workflow in a list.
pub static WORKFLOW: Schema = Schema {
    name: "Workflow",
    members: ROW,
    example: concat!("{", EXAMPLE, "}"),
};

/// A workflow after an action, with a message about the action.
pub static WORKFLOW_ACTION: Schema = Schema {
    name: "WorkflowAction",
    members: concat_slices!([Member]: ROW, MESSAGE),
    example: r#"{"id": "c2b5d0f4-7f43-4f0e-8a5e-1d2f3a4b5c6d", "description": "Ship the second release", "orchestrator_id": "4a922d03-4c26-4ca9-a1ce-5625fd2f50f6", "channel_id": null, "status": "executing", "execution_strategy": "dag", "created_at": "2026-01-31T12:00:00.000001Z", "started_at": "2026-01-31T12:00:01.000001Z", "completed_at": null, "message": "Workflow c2b5d0f4-7f43-4f0e-8a5e-1d2f3a4b5c6d is executing."}"#,
};

/// A workflow with its tasks.
pub static WORKFLOW_WITH_TASKS: Schema = Schema {
    name: "WorkflowWithTasks",
    members: concat_slices!([Member]: ROW, TASKS),
    example: concat!("{", EXAMPLE, r#", "workflow_tasks": []}"#),
};

/// A new workflow.
pub static WORKFLOW_CREATE: Schema = Schema {
    name: "WorkflowCreate",
    members: concat_slices!([Member]: CREATE, FIRST_TASKS),
    example: r#"{"description": "Ship the second release", "execution_strategy": "dag", "tasks": [{"description": "Freeze the code"}, {"description": "Write the release notes", "depends_on": [0]}]}"#,
};

/// A task in the request that creates its workflow.
pub static WORKFLOW_CREATE_TASK: Schema = Schema {
    name: "WorkflowCreateTask",
    members: members! {
        description: DESCRIPTION, Required, "Description of the task.";
        agent_id: FieldType::Reference(Target::Agent), OptionalNullable, "Id of the agent to which the task is assigned. If it is omitted or null, any agent can claim the task.";
        order_index: ORDER_INDEX, Optional, "Position of the task in the workflow. Default: the task's position in this list, counted from 0.";
        depends_on: FieldType::List { of: &FieldType::EarlierPosition, max: 100 }, Optional, "Positions in this list, counted from 0, of earlier tasks that must be completed or skipped before this task can start. Used only if execution_strategy is dag. Default: [].";
    },
    example: r#"{"description": "Write the release notes", "depends_on": []}"#,
};

filters! {
    /// The filters of the list of workflows.
    WORKFLOW_LIST:
    status: "status", "status", WORKFLOW_STATUS, "Only workflows with this status are returned.";
    channel_id: "channel", "channel_id", FieldType::Uuid, "Only workflows of this channel are returned.";
    [] uses ["idx_workflows_created_at"];
    ["status"] uses ["idx_workflows_status_created"];
    ["channel"] uses ["idx_workflows_channel_id"];
    ["channel", "status"] uses ["workflows_channel_status_idx"];
}
