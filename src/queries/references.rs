//! Finds references in a body to rows that don't exist. The module doesn't depend on HTTP, except for JSON pointers.
//!
//! Writes check their own references. This query runs only for an invalid request, to report all of the request's errors at once.

use serde_json::json;
use uuid::Uuid;

use super::{text, uuid};
use crate::db::{Access, Db, DbError, Effect, Parameter, Statement};
use crate::schema::Target;

/// A row that a body refers to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// The reference's location in the body, as a JSON pointer (RFC 6901).
    pub pointer: String,
    /// The type of row.
    pub to: Target,
    /// The row's id.
    pub id: Uuid,
}

pub(super) static REFERENCE_CHECK: Statement = Statement {
    name: "reference_check",
    sql: constcat::concat!["SELECT json_agg(pointer ORDER BY position)::text
        FROM ROWS FROM (jsonb_to_recordset($1::text::jsonb) AS (pointer text, \"to\" text, id uuid))
            WITH ORDINALITY AS reference(pointer, \"to\", id, position)
        WHERE NOT CASE \"to\"
            WHEN 'agent' THEN EXISTS (SELECT FROM public.agents WHERE agents.id = reference.id)
            WHEN 'channel' THEN EXISTS (SELECT FROM public.channels WHERE channels.id = reference.id)
            WHEN 'message' THEN EXISTS (
                SELECT FROM public.messages WHERE messages.id = reference.id AND channel_id = $2::uuid)
            WHEN 'workflow' THEN EXISTS (SELECT FROM public.workflows WHERE workflows.id = reference.id)
            ELSE EXISTS (
                SELECT FROM public.workflow_tasks WHERE workflow_tasks.id = reference.id AND workflow_id = $2::uuid) END"],
    // There are hundreds of agents and channels, so the planner may scan their tables.
    effect: Effect::Reads,
    access: Access::IndexesAndOneOf(
        &["messages_pkey", "workflows_pkey"],
        &[
            "workflow_tasks_pkey",
            "idx_workflow_tasks_workflow_id",
            "idx_workflow_tasks_workflow_status",
        ],
    ),
    max_rows: 202,
};

/// Returns the pointers of the references whose rows don't exist, in order. `parent` is the id of the parent channel or workflow, if the id is
/// known. Sends no statement if there are no references.
pub async fn dangling(
    db: &Db,
    references: &[Reference],
    parent: Option<Uuid>,
) -> Result<Vec<String>, DbError> {
    if references.is_empty() {
        return Ok(Vec::new());
    }
    let rows: Vec<_> = references
        .iter()
        .map(|Reference { pointer, to, id }| {
            let to = match to {
                Target::Agent => "agent",
                Target::Channel => "channel",
                Target::Message => "message",
                Target::Workflow => "workflow",
                Target::WorkflowTask => "workflow_task",
            };
            json!({"pointer": pointer, "to": to, "id": id.to_string()})
        })
        .collect();
    let parameters = vec![
        text(json!(rows).to_string()),
        parent.map_or(Parameter::DbNull, uuid),
    ];
    let answer = db.answer(&REFERENCE_CHECK, parameters).await?;
    let pointers = answer.json.as_deref().map(serde_json::from_str);
    pointers.transpose().map_or_else(
        |error| {
            Err(DbError::Decode {
                statement: REFERENCE_CHECK.name,
                found: error.to_string(),
            })
        },
        |pointers| Ok(pointers.unwrap_or_default()),
    )
}
