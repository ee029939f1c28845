//! The responses of health checks.

use super::{FieldType, Schema, members};

/// The response of a component that is up.
pub static HEALTH: Schema = Schema {
    name: "Health",
    members: members! {
        status: FieldType::OneOf(&["healthy"]), Required, "The component is running.";
        version: FieldType::Text { min: 1, max: 50 }, Required, "Version of the component.";
    },
    example: r#"{"status": "healthy", "version": "0.1.0"}"#,
};

/// The response of a component that is ready.
pub static READINESS: Schema = Schema {
    name: "Readiness",
    members: members! {
        status: FieldType::OneOf(&["ready"]), Required, "The component is ready to serve requests.";
    },
    example: r#"{"status": "ready"}"#,
};
