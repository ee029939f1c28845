//! Tasks that belong to no workflow.

use constcat::concat;

use super::{DESCRIPTION, FieldType, LONG_TEXT, Schema, Target, columns, filters};

const PRIORITY: FieldType = FieldType::Integer { min: 0, max: 100 };
const TASK_STATUS: FieldType = FieldType::OneOf(&["pending", "in_progress", "completed", "failed"]);

columns! {
    id: "f1e2d3c4-b5a6-4978-8a9b-0c1d2e3f4a5b"
    description: "text" {
        row: DESCRIPTION, Required, "Description of the task.", r#""Renew the certificate""#;
        create: DESCRIPTION, Required, "Description of the task.";
        update: DESCRIPTION, Optional, "New description of the task.";
    }
    assigned_to: "uuid" {
        row: FieldType::Uuid, Nullable, "Id of the agent to which the task is assigned; null if it is not assigned.", "null";
        create: FieldType::Reference(Target::Agent), OptionalNullable, "Id of the agent to which the task is assigned. Default: null.";
        update: FieldType::Reference(Target::Agent), OptionalNullable,
            "Id of the agent to which the task is assigned; null removes the assignment.";
    }
    status: "text" {
        row: TASK_STATUS, Required, "Status of the task.", r#""pending""#;
        update: TASK_STATUS, Optional, "New status of the task. The API sets started_at and completed_at to match: pending clears both, in_progress sets started_at and clears completed_at, completed and failed set both. A time that is already set is kept.";
    }
    priority: "int" {
        row: PRIORITY, Required, "Priority of the task; a higher number is more urgent.", "10";
        create: PRIORITY, Optional, "Priority of the task; a higher number is more urgent. Default: 0.", sql "coalesce(priority, 0)";
        update: PRIORITY, Optional, "New priority of the task; a higher number is more urgent.";
    }
    context: "jsonb" {
        row: FieldType::Object, Required, "Information for the task, as a JSON object. The API stores it unchanged.", "{}";
        create: FieldType::Object, Optional,
            "Information for the task, as any JSON object of at most 16 KiB and 60 levels of nesting. The API stores it unchanged. Default: {}.",
            sql "coalesce(context, '{}')";
        update: FieldType::Object, Optional,
            "New information for the task, as any JSON object of at most 16 KiB and 60 levels of nesting. The API stores it unchanged. It replaces the previous information completely.";
    }
    result: "text" {
        row: LONG_TEXT, Nullable, "Result of the task.", "null";
        update: LONG_TEXT, OptionalNullable, "New result of the task; null removes the result.";
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

/// A task.
pub static TASK: Schema = Schema {
    name: "Task",
    members: ROW,
    example: concat!("{", EXAMPLE, "}"),
};

/// A new task.
pub static TASK_CREATE: Schema = Schema {
    name: "TaskCreate",
    members: CREATE,
    example: r#"{"description": "Renew the certificate", "priority": 10}"#,
};

/// The changes to a task.
pub static TASK_UPDATE: Schema = Schema {
    name: "TaskUpdate",
    members: UPDATE,
    example: r#"{"status": "completed", "result": "Valid until 2027."}"#,
};

filters! {
    /// The filters of the list of tasks.
    TASK_LIST:
    status: "status", "status", TASK_STATUS, "Only tasks with this status are returned.";
    [] uses ["tasks_created_at_idx"];
    ["status"] uses ["tasks_status_created_at_idx"];
}
