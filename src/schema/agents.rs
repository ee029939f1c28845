//! Agents.

use constcat::{concat, concat_slices};

use super::{FieldType, MESSAGE, Member, Pattern, Schema, columns, filters, members};

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
/// The name in a request that creates or renames an agent. Such a name can't begin with a dot, because clients resolve `/api/agents/name/..`
/// before they send the request.
const NEW_AGENT_NAME: FieldType = FieldType::Pattern {
    regex: &NEW_AGENT_NAME_REGEX,
    form: "must be up to 99 letters, digits, _ . and -, not beginning with a dot, with or without a leading @",
};
static NEW_AGENT_NAME_REGEX: Pattern = Pattern::new("^@?[A-Za-z0-9_-][A-Za-z0-9_.-]{0,98}$");

columns! {
    id: "4a922d03-4c26-4ca9-a1ce-5625fd2f50f6"
    name: "text" {
        row: AGENT_NAME, Required, "Name of the agent, with a leading @, as in mentions.", r#""@backend""#;
        create: NEW_AGENT_NAME, Required, "Name of the agent, with or without the leading @. It must be unique among agents.",
            sql "'@' || ltrim(name, '@')";
        update: NEW_AGENT_NAME, Optional, "New name of the agent, with or without the leading @. It must be unique among agents.",
            sql "'@' || ltrim(members ->> 'name', '@')";
    }
    agent_type: "text" {
        row: AGENT_TYPE, Required, "Type of the agent. Each installation chooses its own types.", r#""developer""#;
        create: AGENT_TYPE, Required, "Type of the agent. Each installation chooses its own types.";
        update: AGENT_TYPE, Optional, "New type of the agent.";
    }
    persona: "jsonb" {
        row: FieldType::Record(&PERSONA), Required, "Persona of the agent.", r#"{"role": "Backend developer"}"#;
        create: FieldType::Record(&PERSONA), Optional, "Persona of the agent. Default: {}.", sql "coalesce(persona, '{}')";
        update: FieldType::Record(&PERSONA), Optional, "New persona of the agent. It replaces the previous persona completely.";
    }
    config: "jsonb" {
        row: FieldType::Object, Required, "Settings of the agent, as a JSON object. The API stores them unchanged.", "{}";
        create: FieldType::Object, Optional,
            "Settings of the agent, as any JSON object of at most 16 KiB and 60 levels of nesting. The API stores them unchanged. Default: {}.",
            sql "coalesce(config, '{}')";
        update: FieldType::Object, Optional,
            "New settings of the agent, as any JSON object of at most 16 KiB and 60 levels of nesting. The API stores them unchanged. They replace the previous settings completely.";
    }
    is_active: "boolean" {
        row: FieldType::Boolean, Required, "Whether the agent is active. An inactive agent cannot claim tasks.", "true";
        create: FieldType::Boolean, Optional, "Whether the agent is active. Default: true.", sql "coalesce(is_active, true)";
        update: FieldType::Boolean, Optional, "Whether the agent is active.";
    }
    is_busy: "boolean" {
        row: FieldType::Boolean, Required, "Whether the agent is busy.", "false";
        update: FieldType::Boolean, Optional, "Whether the agent is busy.";
    }
    created_at: "timestamptz" {
        row: FieldType::Time, Required, "When the row was created.", r#""2026-01-31T12:00:00.000001Z""#;
    }
    updated_at: "timestamptz" {
        row: FieldType::Time, Required, "When the row was last changed.", r#""2026-01-31T12:00:00.000001Z""#;
    }
}

/// An agent.
pub static AGENT: Schema = Schema {
    name: "Agent",
    members: ROW,
    example: concat!("{", EXAMPLE, "}"),
};

/// An agent after an action, with a message about the action.
pub static AGENT_ACTION: Schema = Schema {
    name: "AgentAction",
    members: concat_slices!([Member]: ROW, MESSAGE),
    example: concat!(
        "{",
        EXAMPLE,
        r#", "message": "Agent @backend is active now."}"#
    ),
};

/// A new agent.
pub static AGENT_CREATE: Schema = Schema {
    name: "AgentCreate",
    members: CREATE,
    example: r#"{"name": "@writer", "agent_type": "writer", "persona": {"role": "Writer", "capabilities": ["editing"]}}"#,
};

/// The changes to an agent.
pub static AGENT_UPDATE: Schema = Schema {
    name: "AgentUpdate",
    members: UPDATE,
    example: r#"{"is_busy": true}"#,
};

filters! {
    /// The filters of the list of agents.
    AGENT_LIST:
    active_only: "active", "is_active", FieldType::Boolean, default "true", "Whether to return only active agents.";
    agent_type: "type", "agent_type", AGENT_TYPE, "Only agents of this type are returned.";
    [] uses [];
    ["active"] uses ["idx_agents_active"];
    ["type"] uses [];
    ["type", "active"] uses ["idx_agents_type_active"];
}

/// The persona of an agent.
pub static PERSONA: Schema = Schema {
    name: "Persona",
    members: members! {
        role: FieldType::Text { min: 0, max: 500 }, Optional, "Role of the agent.";
        goal: FieldType::Text { min: 0, max: 2000 }, Optional, "Goal of the agent.";
        backstory: FieldType::Text { min: 0, max: 10_000 }, Optional, "Background of the agent.";
        capabilities: FieldType::List { of: &FieldType::Text { min: 1, max: 100 }, max: 100 }, Optional, "Capabilities of the agent, each as a word or a short phrase.";
    },
    example: r#"{"role": "Backend developer", "goal": "Build services that are fast", "backstory": "Writes the test first.", "capabilities": ["apis", "databases"]}"#,
};

/// Whether an agent is online, and whether it is busy.
pub static AGENT_STATUS: Schema = Schema {
    name: "AgentStatus",
    members: members! {
        id: FieldType::Uuid, Required, "Id of the row.";
        name: AGENT_NAME, Required, "Name of the agent, with the leading @.";
        agent_type: AGENT_TYPE, Required, "Type of the agent. Each installation chooses its own types.";
        status: FieldType::OneOf(&["online", "offline"]), Required, "Status of the agent: online if it is active, otherwise offline.";
        is_busy: FieldType::Boolean, Required, "Whether the agent is busy.";
    },
    example: r#"{"id": "4a922d03-4c26-4ca9-a1ce-5625fd2f50f6", "name": "@backend", "agent_type": "developer", "status": "online", "is_busy": false}"#,
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
