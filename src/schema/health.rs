//! The responses of health checks.

use super::Presence::Required;
use super::{FieldType, Schema, member};

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
