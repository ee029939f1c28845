//! The data of the API: the type of each value, and one description of each resource, in a file with the resource's name.
//!
//! Requests are checked against these descriptions, statements take their lists of columns from them, and openapi.json is generated from them.
//! The module depends on no other module.

pub mod agents;
pub mod channels;
pub mod health;
pub mod messages;
pub mod performance;
pub mod stats;
pub mod tasks;
pub mod workflow_tasks;
pub mod workflows;

use std::sync::OnceLock;

use regex_lite::Regex;

/// A JSON object with known members.
#[derive(Debug)]
pub struct Schema {
    /// The schema's name in openapi.json.
    pub name: &'static str,
    /// All members that the object may have.
    pub members: &'static [Member],
    /// An example in JSON.
    pub example: &'static str,
}

/// A member of a JSON object.
#[derive(Clone, Copy, Debug)]
pub struct Member {
    /// The member's name.
    pub name: &'static str,
    /// The type of its value.
    pub field_type: FieldType,
    /// Whether the member may be missing or null.
    pub presence: Presence,
    /// The description in openapi.json, one sentence.
    pub about: &'static str,
}

/// Whether a member may be missing, and whether it may be null.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// Never missing, never null.
    Required,
    /// Never missing, may be null.
    Nullable,
    /// May be missing, never null.
    Optional,
    /// May be missing or null.
    OptionalNullable,
}

/// A parameter of the path or the query.
#[derive(Clone, Copy, Debug)]
pub struct Parameter {
    /// The parameter's name. The parameter is in the path if the path has the name in braces, else in the query.
    pub name: &'static str,
    /// The type of its value.
    pub field_type: FieldType,
    /// The description in openapi.json, one sentence.
    pub about: &'static str,
    /// The default value, written as in a query string: `50`, `true`.
    pub default: Option<&'static str>,
}

impl Parameter {
    /// Returns a parameter without a default. The macro `parameters!` sets its name.
    #[must_use]
    pub const fn new(field_type: FieldType, about: &'static str) -> Self {
        Self {
            name: "",
            field_type,
            about,
            default: None,
        }
    }
}

/// The type of a value.
#[derive(Clone, Copy, Debug)]
pub enum FieldType {
    /// A UUID with hyphens.
    Uuid,
    /// The UUID of a row that must exist.
    Reference(Target),
    /// The UUID of an agent that must exist, if another member has a certain value; otherwise any UUID.
    AgentWhere {
        /// The other member.
        member: &'static str,
        /// That member's value.
        is: &'static str,
    },
    /// A reference from an item of a list to an earlier item of the same list, by its position, counted from 0.
    EarlierPosition,
    /// true or false.
    Boolean,
    /// A whole number.
    Integer {
        /// The minimum.
        min: i64,
        /// The maximum.
        max: i64,
    },
    /// A display name, in normalization form C and without invisible characters.
    Name {
        /// The maximum number of characters; the minimum is 1.
        max: usize,
    },
    /// Text without NUL characters.
    Text {
        /// The minimum number of characters.
        min: usize,
        /// The maximum number of characters.
        max: usize,
    },
    /// Text that matches a regular expression.
    Pattern {
        /// The regular expression.
        regex: &'static Pattern,
        /// The error for a text that doesn't match: "must be …".
        form: &'static str,
    },
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// A time (RFC 3339), in UTC if it has no offset.
    Time,
    /// A keyset cursor from a `Link` header. The page begins after the cursor's row.
    Cursor,
    /// Any JSON object.
    Object,
    /// A JSON object with known members.
    Record(&'static Schema),
    /// A JSON array.
    List {
        /// The type of its items.
        of: &'static FieldType,
        /// The maximum number of items.
        max: usize,
    },
}

impl FieldType {
    /// Returns the type of a list's page.
    #[must_use]
    pub const fn page(of: &'static Self) -> Self {
        Self::List { of, max: 200 }
    }
}

/// A regular expression that means the same in Rust and in ECMA 262, which openapi.json uses. Compiled on first use.
#[derive(Debug)]
pub struct Pattern {
    /// The expression.
    pub text: &'static str,
    compiled: OnceLock<Option<Regex>>,
}

impl Pattern {
    /// Creates a pattern. `text` must be a valid regular expression.
    #[must_use]
    pub const fn new(text: &'static str) -> Self {
        Self {
            text,
            compiled: OnceLock::new(),
        }
    }

    /// Whether a text matches. No text matches an invalid expression.
    pub fn is_match(&self, text: &str) -> bool {
        let compiled = self.compiled.get_or_init(|| Regex::new(self.text).ok());
        compiled.as_ref().is_some_and(|regex| regex.is_match(text))
    }
}

/// The type of row that a body refers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// An agent.
    Agent,
    /// A channel.
    Channel,
    /// A message of the request's channel.
    Message,
    /// A workflow.
    Workflow,
    /// A task of the request's workflow.
    WorkflowTask,
}

/// The filters of a list, and the indexes that find the rows of each combination of them.
#[derive(Debug)]
pub struct Filters {
    /// The filters, in the order of openapi.json.
    pub filters: &'static [Filter],
    /// For each combination of filters: their labels, and the indexes of which each alone suffices to read the rows in the list's order. Such
    /// an index begins with the columns of the filters, the last filter first. Without indexes, the list's table is small enough to be scanned.
    pub indexes: &'static [(&'static [&'static str], &'static [&'static str])],
}

/// A filter of a list: returns only rows whose column equals the parameter.
#[derive(Clone, Copy, Debug)]
pub struct Filter {
    /// The parameter of the query. A boolean parameter filters only if it is true.
    pub parameter: Parameter,
    /// The name of the column.
    pub column: &'static str,
    /// The filter's name in the names of statements.
    pub label: &'static str,
}

impl Filters {
    /// Returns the parameters of all filters. `N` is their number.
    #[must_use]
    pub const fn parameters<const N: usize>(&self) -> [Parameter; N] {
        let mut parameters = [Parameter::new(FieldType::Boolean, ""); N];
        let (mut slots, mut filters) = (parameters.as_mut_slice(), self.filters);
        while let ([slot, other_slots @ ..], [filter, other_filters @ ..]) = (slots, filters) {
            *slot = filter.parameter;
            (slots, filters) = (other_slots, other_filters);
        }
        parameters
    }
}

/// A time as the API shows it, in SQL: text, in UTC with six digits and `Z`, regardless of the session's settings.
macro_rules! time {
    ($time:expr) => {
        concat!(
            "to_char((",
            $time,
            ") AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')"
        )
    };
}

/// Describes a resource by its columns. Creates the members of the resource's schemas, and lists of columns in SQL.
///
/// - `row`: the column in responses: type, presence, description, example in JSON.
/// - `create`: the member in requests that create a row; omit it if clients can't set the column. The stored value is the member, or the
///   SQL expression after `sql`.
/// - `update`: the member in requests that update a row; omit it if clients can't change the column. The stored value is the member, or the
///   SQL expression after `sql`, which arrays need.
macro_rules! columns {
    (
        id: $id:literal
        $($column:ident: $sql_type:tt {
            row: $type:expr, $presence:ident, $about:literal, $example:literal;
            $(create: $new_type:expr, $new_presence:ident, $new_about:literal $(, sql $new_sql:literal)?;)?
            $(update: $changed_type:expr, $changed_presence:ident, $changed_about:literal $(, sql $changed_sql:literal)?;)?
        })+
    ) => {
        /// The members of a row.
        pub const ROW: &[$crate::schema::Member] = $crate::schema::members! {
            id: FieldType::Uuid, Required, "Id of the row.";
            $($column: $type, $presence, $about;)+
        };
        /// The members of a request that creates a row.
        pub const CREATE: &[$crate::schema::Member] = $crate::schema::members! {
            $($($column: $new_type, $new_presence, $new_about;)?)+
        };
        /// The members of a request that updates a row.
        pub const UPDATE: &[$crate::schema::Member] = $crate::schema::members! {
            $($($column: $changed_type, $changed_presence, $changed_about;)?)+
        };
        /// The members of an example of a row, without braces.
        pub const EXAMPLE: &str = concat!(
            "\"id\": \"", $id, "\"",
            $(", \"", stringify!($column), "\": ", $example),+
        );
        /// SQL: the row as the API shows it, as a list of columns.
        pub const COLUMNS: &str = concat!("id" $(, ", ", $crate::schema::selected!($sql_type, stringify!($column)))+);
        /// SQL: the columns of the record `new`, which has the members of a request that creates a row.
        pub const NEW: &str = $crate::schema::list(concat!(
            $($($crate::schema::first!(", ", $new_about), stringify!($column), " ", $sql_type,)?)+
        ));
        /// SQL: the columns that a request sets when it creates a row.
        pub const CREATED: &str = $crate::schema::list(concat!(
            $($($crate::schema::first!(", ", $new_about), stringify!($column),)?)+
        ));
        /// SQL: the values of [`CREATED`].
        pub const VALUES: &str = $crate::schema::list(concat!(
            $($($crate::schema::first!(", ", $new_about), $crate::schema::first!($($new_sql,)? stringify!($column)),)?)+
        ));
        /// SQL: the assignments of a request that updates a row. The SQL column `members` is the request's body.
        pub const CHANGES: &str = $crate::schema::list(concat!(
            $($(
                $crate::schema::first!(", ", $changed_about), stringify!($column),
                " = CASE WHEN members ? '", stringify!($column), "' THEN ",
                $crate::schema::first!($($changed_sql,)? concat!("(members ->> '", stringify!($column), "')::", $sql_type)),
                " ELSE ", stringify!($column), " END",
            )?)+
        ));
    };
}

/// The members of a schema: name, type, presence, description.
macro_rules! members {
    ($($name:ident: $type:expr, $presence:ident, $about:literal;)*) => {
        &[$($crate::schema::Member {
            name: stringify!($name),
            field_type: $type,
            presence: $crate::schema::Presence::$presence,
            about: $about,
        }),*]
    };
}

/// Describes the filters of a list, in the order of openapi.json, and the indexes of each combination of them.
///
/// - A filter is `parameter: label, column, type, default, description;`. The default may be omitted.
/// - A combination is `[labels] uses [indexes];`, the last filter first. Each of the indexes alone suffices.
macro_rules! filters {
    (
        $(#[$about_list:meta])+
        $list:ident:
        $($parameter:ident: $label:literal, $column:literal, $type:expr, $(default $default:literal,)? $about:literal;)*
        $([$($given:literal),*] uses [$($index:literal),*];)+
    ) => {
        $(#[$about_list])+
        pub const $list: $crate::schema::Filters = $crate::schema::Filters {
            filters: &[$($crate::schema::Filter {
                parameter: $crate::schema::Parameter {
                    name: stringify!($parameter),
                    field_type: $type,
                    about: $about,
                    default: $crate::schema::first!($(Some($default),)? None),
                },
                column: $column,
                label: $label,
            }),*],
            indexes: &[$((&[$($given),*], &[$($index),*])),+],
        };
    };
}

/// A column in a SELECT.
macro_rules! selected {
    ("timestamptz", $column:expr) => {
        concat!($crate::schema::time!($column), " AS ", $column)
    };
    ($sql_type:tt, $column:expr) => {
        $column
    };
}

/// Expands to the first of several expressions.
macro_rules! first {
    ($first:expr $(, $other:expr)*) => {
        $first
    };
}

/// Returns a list without the comma before its first item.
const fn list(items: &'static str) -> &'static str {
    match items.split_at_checked(2) {
        Some((_, items)) => items,
        None => items,
    }
}

pub(crate) use time;
use {columns, filters, first, members, selected};

/// A count: zero or more.
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
const NAME: FieldType = FieldType::Text { min: 1, max: 100 };
/// The name in a request that creates or renames something. Responses have [`NAME`], because older rows may have any name.
const NEW_NAME: FieldType = FieldType::Name { max: 100 };
const ORDER_INDEX: FieldType = FieldType::Integer {
    min: 0,
    max: 100_000,
};

/// The member `message` of a response, which describes the result of an action.
const MESSAGE: &[Member] = members! {
    message: FieldType::Text { min: 1, max: 1000 }, Required, "Result of the action, as a sentence.";
};
