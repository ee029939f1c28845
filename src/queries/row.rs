//! One row as the API shows it: SQL for its JSON text and its entity tag, and for the comparison with the tags in `If-Match`. The module
//! doesn't depend on a table.
//!
//! The tag is a hash of the JSON text that GET returns, so the same row has the same tag in reads and in writes. A write that depends on a tag locks
//! the row first and computes the tag of the locked row. Without this lock, the WHERE of the UPDATE would still let only one writer succeed, but the
//! other writers would get the tag of an old version.

use uuid::Uuid;

use super::TAG_LENGTH;
use crate::db::{Answer, Parameter};

/// A row as the API shows it.
#[derive(Debug, PartialEq, Eq)]
pub struct Row {
    /// The row's JSON text.
    pub json: String,
    /// The row's entity tag. `None` if the row was deleted, or if the text is not a row with a URI of its own.
    pub tag: Option<String>,
    /// The row's id, if a statement has just created the row.
    pub created_id: Option<Uuid>,
}

impl Row {
    /// Returns the row in the answer of a statement built by [`row!`]; `None` if there is no row.
    pub(super) fn of(answer: Answer) -> Option<Self> {
        Some(Self {
            json: answer.json?,
            tag: answer.note,
            created_id: None,
        })
    }
}

/// The tags in an `If-Match` header that this API may have issued; `None` if the request has no such header, or if the header is `*`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IfMatch(pub Option<Vec<String>>);

impl IfMatch {
    /// Returns the parameter `$if_match` of [`change!`] and [`tag_matches!`]: the tags, separated by spaces, or NULL if the request sets no
    /// condition.
    pub(super) fn parameter(&self) -> Parameter {
        match &self.0 {
            None => Parameter::DbNull,
            Some(tags) => {
                debug_assert!(tags.iter().all(|tag| tag.len() == TAG_LENGTH));
                Parameter::Str(tags.join(" "))
            }
        }
    }
}

/// The tag of a JSON text.
macro_rules! tag {
    ($json:literal) => {
        concat!("lpad(to_hex(hashtextextended(", $json, ", 0)), 16, '0')")
    };
}

/// A statement that reads one row: its JSON and its tag. OFFSET 0 keeps PostgreSQL from computing the JSON twice.
macro_rules! row {
    ($columns:expr, $from:literal) => {
        ::constcat::concat![
            "SELECT json, ",
            $crate::queries::row::tag!("json"),
            " FROM (SELECT row_to_json(item)::text AS json FROM (SELECT ",
            $columns,
            " FROM ",
            $from,
            ") AS item OFFSET 0) AS answer"
        ]
    };
}

/// A statement that changes one row of `$table` and returns it, if the row's tag is among those in `$if_match`. `$1` is the row's id. The CTE
/// `current` locks the row, and `seen` has the locked row's tag; both are empty if `$if_match` is NULL. `$set` is the text after SET, and may end
/// with a FROM clause. `allowed` is a further condition; `otherwise` is the note if nothing was changed.
macro_rules! change {
    (
        row: $row:literal, table: $table:literal, columns: $columns:expr, if_match: $if_match:literal,
        set: [$($set:expr),+],
        $(allowed: $allowed:literal,)?
        $(message: $message:literal,)?
        otherwise: $otherwise:expr
    ) => {
        ::constcat::concat![
            "WITH current AS (SELECT * FROM ", $table, " WHERE id = $1::uuid AND ", $if_match, " IS NOT NULL FOR NO KEY UPDATE
            ), seen AS (
                SELECT ", $crate::queries::row::tag!("row_to_json(item)::text"), " AS tag
                FROM current, LATERAL (SELECT ", $columns, ") AS item
            ), ", $row, " AS (
                UPDATE ", $table, " SET ", $($set),+, "
                WHERE id = $1::uuid AND ", $($allowed, " AND ",)? $crate::queries::row::tag_matches!($if_match), "
                RETURNING ", $columns, ")",
            $crate::queries::row::written!(row: $row, $(message: $message,)? otherwise: $otherwise)
        ]
    };
}

/// The FROM clause of an UPDATE, in which `members` is the request's body, `$2`.
pub(super) const PATCH: &str = " FROM (SELECT $2::text::jsonb AS members) AS patch";

/// True if the row's tag in the CTE `seen` is among the tags in `$if_match`, or if `$if_match` is NULL.
macro_rules! tag_matches {
    ($if_match:literal) => {
        concat!(
            "(",
            $if_match,
            " IS NULL OR EXISTS (SELECT FROM seen WHERE tag = ANY (string_to_array(",
            $if_match,
            ", ' '))))"
        )
    };
}

/// The answer of a write whose CTE `$row` returns the row: the row's JSON, with the member `message` unless that is NULL, and the row's tag.
/// `created` adds the row's id after the tag. If there is no row, the note is the reason `$why`, which [`Outcome`](super::Outcome) parses.
macro_rules! written {
    (row: $row:literal, message: $message:literal, otherwise: $why:expr) => {
        concat!(
            " SELECT CASE WHEN message IS NULL THEN json
                     ELSE left(json, -1) || ',\"message\":' || to_json(message)::text || '}' END,
                CASE WHEN json IS NOT NULL THEN ", $crate::queries::row::tag!("json"), " ELSE ", $why, " END
            FROM (SELECT (SELECT row_to_json(", $row, ")::text FROM ", $row, ") AS json,
                         (SELECT ", $message, " FROM ", $row, ") AS message OFFSET 0) AS answer"
        )
    };
    (created: $row:literal, otherwise: $why:expr) => {
        concat!(
            " SELECT json, CASE WHEN json IS NOT NULL THEN ", $crate::queries::row::tag!("json"), " || ' ' || (SELECT id FROM ", $row, ")
                     ELSE ", $why, " END
            FROM (SELECT (SELECT row_to_json(", $row, ")::text FROM ", $row, ") AS json OFFSET 0) AS answer"
        )
    };
    (row: $row:literal, otherwise: $why:expr) => {
        concat!(
            " SELECT json, CASE WHEN json IS NOT NULL THEN ", $crate::queries::row::tag!("json"), " ELSE ", $why, " END
            FROM (SELECT (SELECT row_to_json(", $row, ")::text FROM ", $row, ") AS json OFFSET 0) AS answer"
        )
    };
}

/// The reason why a write changed no row, for writes that no state forbids: the row has another tag, or there is no row.
macro_rules! stale_or_absent {
    () => {
        "coalesce('stale ' || (SELECT tag FROM seen), 'absent')"
    };
}

pub(super) use {change, row, stale_or_absent, tag, tag_matches, written};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn if_match_is_sent_as_one_text_parameter() {
        let parameter = |tags: Option<&[&str]>| {
            let tags = tags.map(|tags| tags.iter().map(ToString::to_string).collect());
            IfMatch(tags).parameter()
        };
        assert!(matches!(parameter(None), Parameter::DbNull));
        let (one, two) = ("0123456789abcdef", "fedcba9876543210");
        for (tags, text) in [
            (&[][..], String::new()),
            (&[one], one.to_owned()),
            (&[one, two], format!("{one} {two}")),
        ] {
            let Parameter::Str(sent) = parameter(Some(tags)) else {
                panic!("not a text");
            };
            assert_eq!(sent, text);
        }
    }
}
