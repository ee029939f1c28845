//! Converts database errors to the form that Spin gives them. The texts are the same as Spin's, because guests may compare them.

use tokio_postgres::error::DbError;

use crate::bindings::spin::postgres::postgres::{DbError as WitDbError, Error, QueryError};

/// Returns a server error with all its fields, or any other error as its debug text.
#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
pub fn query_failed(error: tokio_postgres::Error) -> Error {
    let text = format!("{error:?}");
    match error.as_db_error() {
        None => query_text(text),
        Some(db) => Error::QueryFailed(QueryError::DbError(WitDbError {
            as_text: text,
            severity: db.severity().into(),
            code: db.code().code().into(),
            message: db.message().into(),
            detail: db.detail().map(Into::into),
            extras: extras(db),
        })),
    }
}

/// Formats an error and its causes as `anyhow` does in Spin, but never with a stack trace.
pub fn causes(error: &anyhow::Error) -> String {
    let causes: Vec<_> = error.chain().skip(1).map(ToString::to_string).collect();
    let numbered = causes
        .iter()
        .enumerate()
        .map(|(index, cause)| format!("{index}: {cause}"));
    let causes = match causes.len() {
        0 => return error.to_string(),
        1 => causes,
        _ => numbered.collect(),
    };
    format!("{error}\n\nCaused by:\n    {}", causes.join("\n    "))
}

/// Returns a query error that doesn't come from the server.
pub fn query_text(text: String) -> Error {
    Error::QueryFailed(QueryError::Text(text))
}

fn extras(db: &DbError) -> Vec<(String, String)> {
    let line = db.line().map(|line| line.to_string());
    let fields = [
        ("column", db.column()),
        ("constraint", db.constraint()),
        ("routine", db.routine()),
        ("hint", db.hint()),
        ("table", db.table()),
        ("datatype", db.datatype()),
        ("schema", db.schema()),
        ("file", db.file()),
        ("line", line.as_deref()),
        ("where_", db.where_()),
    ];
    let present = fields
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned())));
    present.collect()
}
