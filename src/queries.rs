//! Every SQL statement there is, a file for each table, and [`ALL`] that lists them for tests and reports.
//!
//! Functions here take checked values and give JSON text as PostgreSQL shaped it. They never see HTTP.
//!
//! Statements answer with one row: the JSON, and a note. A list's note is the cursor of its next page; a write's says
//! why it did nothing ([`Outcome`]).

pub mod agents;
pub mod cache;
pub mod channels;
pub mod fleet;
pub mod fleet_report;
pub mod health;
pub mod idempotency;
pub mod messages;
pub mod metrics;
pub mod performance;
pub mod references;
pub mod replica;
mod sql;
pub mod stats;
pub mod tasks;
pub mod workflow_tasks;
pub mod workflows;

use sql::sql;
use uuid::Uuid;

use crate::db::{Answer, Db, DbError, Parameter, Statement};

/// The registry: what isn't listed here mustn't run.
pub static ALL: &[&Statement] = &[
    &agents::AGENT_LIST,
    &agents::AGENT_LIST_ACTIVE,
    &agents::AGENT_LIST_TYPE,
    &agents::AGENT_LIST_TYPE_ACTIVE,
    &agents::AGENT_CREATE,
    &agents::AGENT_GET,
    &agents::AGENT_GET_BY_NAME,
    &agents::AGENT_UPDATE,
    &agents::AGENT_SET_ACTIVE,
    &agents::AGENT_STATUS,
    &agents::AGENT_MESSAGE_LIST,
    &agents::AGENT_DM_CHANNEL,
    &cache::PERFORMANCE_CACHE,
    &channels::CHANNEL_LIST,
    &channels::CHANNEL_CREATE,
    &channels::CHANNEL_GET,
    &channels::CHANNEL_UPDATE,
    &channels::CHANNEL_ARCHIVE,
    &channels::CHANNEL_CLEAR,
    &channels::CHANNEL_MESSAGE_LIST,
    &fleet::FLEET_COMPACT,
    &fleet::FLEET_FLUSH,
    &fleet::FLEET_ROLLUP,
    &fleet::SLOW_QUERY_KEEP,
    &health::READINESS,
    &idempotency::WRITE_ONCE,
    &messages::MESSAGE_CREATE,
    &messages::MESSAGE_GET,
    &messages::MESSAGE_LIST,
    &metrics::PERFORMANCE_METRICS,
    &performance::PERFORMANCE_DATABASE,
    &performance::PERFORMANCE_TOP_STATEMENTS,
    &fleet_report::PERFORMANCE_FLEET,
    &references::REFERENCE_CHECK,
    &replica::REPLICA_STATE,
    &replica::WRITE_POSITION,
    &stats::STATS,
    &tasks::TASK_LIST,
    &tasks::TASK_LIST_STATUS,
    &tasks::TASK_CREATE,
    &tasks::TASK_GET,
    &tasks::TASK_UPDATE,
    &workflow_tasks::WORKFLOW_TASK_LIST,
    &workflow_tasks::WORKFLOW_TASK_LIST_STATUS,
    &workflow_tasks::WORKFLOW_TASK_CREATE,
    &workflow_tasks::WORKFLOW_TASK_GET,
    &workflow_tasks::WORKFLOW_TASK_UPDATE,
    &workflow_tasks::WORKFLOW_TASK_CLAIM,
    &workflow_tasks::WORKFLOW_TASK_CLAIM_WORKFLOW,
    &workflows::WORKFLOW_LIST,
    &workflows::WORKFLOW_LIST_STATUS,
    &workflows::WORKFLOW_LIST_CHANNEL,
    &workflows::WORKFLOW_LIST_CHANNEL_STATUS,
    &workflows::WORKFLOW_CREATE,
    &workflows::WORKFLOW_GET,
    &workflows::WORKFLOW_DELETE,
    &workflows::WORKFLOW_START,
    &workflows::WORKFLOW_CANCEL,
];

/// One page of a list: begins after a cursor, or `offset` rows later, and holds `limit` rows at most.
#[derive(Clone, Copy, Debug)]
pub struct Page {
    /// The cursor's key; lists count it in microseconds since 1970, or by position.
    pub key: i64,
    /// The cursor's id.
    pub id: Uuid,
    /// The most rows.
    pub limit: i32,
    /// How many rows to pass over.
    pub offset: i64,
}

/// A page's rows as a JSON array, and the cursor of the next page if there may be one.
#[derive(Debug)]
pub struct Items {
    /// The array.
    pub json: String,
    /// `key.id`.
    pub next: Option<String>,
}

/// What became of a write.
#[derive(Debug)]
pub enum Outcome {
    /// It's done; the row as it is now.
    Done(String),
    /// There's no such row.
    Absent,
    /// The state forbids it; which state.
    Refused(String),
    /// It refers to rows that aren't there; `references::dangling` tells which.
    Dangling,
}

impl From<Answer> for Outcome {
    fn from(answer: Answer) -> Self {
        if let Some(row) = answer.json {
            return Self::Done(row);
        }
        let note = answer.note.unwrap_or_default();
        match note.split_once(' ') {
            Some(("refused", state)) => Self::Refused(state.to_owned()),
            None if note == "dangling" => Self::Dangling,
            _ => Self::Absent,
        }
    }
}

/// The statements sent so far for this request that may have changed something.
fn writes_sent(db: &Db) -> impl Iterator<Item = &'static Statement> {
    let of = |name| ALL.iter().find(|statement| statement.name == name);
    let sent = db.sent().filter_map(of).copied();
    sent.filter(|statement| !statement.is_read())
}

/// The parameters of a list's statement.
fn list_parameters(page: Page, filters: impl IntoIterator<Item = Parameter>) -> Vec<Parameter> {
    let mut parameters = vec![
        Parameter::Int64(page.key),
        uuid(page.id),
        Parameter::Int32(page.limit),
        Parameter::Int64(page.offset),
    ];
    parameters.extend(filters);
    parameters
}

impl Items {
    /// What a list's statement gave; `None` where what it's a list of isn't there.
    fn of(answer: Answer) -> Option<Self> {
        let Answer { json, note: next } = answer;
        json.map(|rows| Self {
            json: ["[", &rows, "]"].concat(),
            next,
        })
    }
}

/// Runs a list's statement. `None` where what it's a list of isn't there.
async fn items(
    db: &Db,
    statement: &'static Statement,
    page: Page,
    filters: impl IntoIterator<Item = Parameter>,
) -> Result<Option<Items>, DbError> {
    let answer = db.answer(statement, list_parameters(page, filters)).await?;
    Ok(Items::of(answer))
}

fn uuid(id: Uuid) -> Parameter {
    Parameter::Uuid(id.to_string())
}

fn text(text: impl Into<String>) -> Parameter {
    Parameter::Str(text.into())
}

fn names(names: &[&str]) -> Parameter {
    Parameter::ArrayStr(names.iter().map(|name| Some((*name).to_owned())).collect())
}

/// The cursor's place in a list by time: rows after it, or before it.
macro_rules! by_time {
    (after) => {
        "(created_at, id) > ('epoch'::timestamptz + $1::bigint * interval '1 microsecond', $2::uuid)
         ORDER BY created_at, id LIMIT $3::int OFFSET $4::bigint"
    };
    (before) => {
        "(created_at, id) < ('epoch'::timestamptz + $1::bigint * interval '1 microsecond', $2::uuid)
         ORDER BY created_at DESC, id DESC LIMIT $3::int OFFSET $4::bigint"
    };
}

/// A page of a list: its JSON, and a note. It ends after `limit` rows, or early where they'd be longer than 2 MiB of JSON
/// (one row more at most): sixteen requests share an instance's memory.
///
/// `$json` and `$note` are made of the rows `page`: their `key` and `id`, their `json`, and whether each `fits`. `$rows`
/// is a FROM with an ORDER BY and a LIMIT. `$long` is how long a row's long texts are, which costs nothing to know: rows
/// that can't fit aren't turned into JSON. OFFSET 0 keeps a row's JSON from being made twice.
macro_rules! page {
    ($json:expr, $note:expr, $key:literal, $long:literal, $columns:expr, $rows:expr) => {
        concat!(
            "SELECT ",
            $json,
            ", ",
            $note,
            " FROM (
                SELECT key, id, json, json IS NOT NULL AND 2097152 > coalesce(
                    sum(octet_length(json)) OVER (ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) AS fits
                FROM (
                    SELECT key, id, CASE WHEN 2097152 > before THEN row_to_json(item)::text END AS json
                    FROM (
                        SELECT item, item.id, item.",
            $key,
            " AS key, coalesce(sum(",
            $long,
            ") OVER (ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) AS before
                        FROM (SELECT ",
            $columns,
            " FROM ",
            $rows,
            ") AS item) AS sized
                    OFFSET 0) AS line) AS page"
        )
    };
}

/// A page's JSON: the rows that fit, without the array's brackets. PostgreSQL copies the whole text for each of them, which
/// is a tenth of the statement; [`items`] does it for less.
macro_rules! page_json {
    () => {
        "coalesce(string_agg(json, ',') FILTER (WHERE fits), '')"
    };
}

/// The note of a page by time: the cursor of its last row, where it's full.
macro_rules! next_by_time {
    () => {
        "CASE WHEN count(*) = $3::int OR NOT bool_and(fits) THEN
            (extract(epoch FROM (array_agg(key) FILTER (WHERE fits))[count(*) FILTER (WHERE fits)]) * 1000000)::bigint
            || '.' || (array_agg(id) FILTER (WHERE fits))[count(*) FILTER (WHERE fits)] END"
    };
}

/// A list by time: `columns` of the rows of `source`, a FROM with a WHERE that has a condition.
macro_rules! list_by_time {
    ($columns:expr, $long:literal, $source:literal, $direction:tt) => {
        page!(
            page_json!(),
            next_by_time!(),
            "created_at",
            $long,
            $columns,
            concat!($source, " AND ", by_time!($direction))
        )
    };
}

use {by_time, list_by_time, next_by_time, page, page_json};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::Access;

    #[test]
    fn names_are_unique_and_object_first() {
        assert!(!ALL.is_empty());
        let mut names: Vec<_> = ALL.iter().map(|statement| statement.name).collect();
        for name in &names {
            assert!(
                name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'),
                "{name}"
            );
        }
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ALL.len());
    }

    #[test]
    fn every_statement_is_registered() {
        let mut defined = 0;
        for file in std::fs::read_dir("src/queries").unwrap() {
            let source = std::fs::read_to_string(file.unwrap().path()).unwrap();
            defined += source.matches(": Statement = Statement {").count();
        }
        assert_eq!(defined, ALL.len(), "a statement is missing in queries::ALL");
    }

    #[test]
    fn indexes_named_are_indexes_of_the_migrations_and_reasons_are_given() {
        let migrations = std::fs::read_to_string("migrations/0001_schema.sql").unwrap()
            + &std::fs::read_to_string("migrations/0002_indexes.sql").unwrap()
            + &std::fs::read_to_string("migrations/0006_profile.sql").unwrap()
            + &std::fs::read_to_string("migrations/0007_idempotency.sql").unwrap()
            + &std::fs::read_to_string("migrations/0010_partial_indexes.sql").unwrap();
        for statement in ALL {
            let (all, one_of) = match statement.access {
                Access::Indexes(indexes) | Access::Inserts(indexes) => (indexes, &[][..]),
                Access::IndexesAndOneOf(indexes, one_of) => (indexes, one_of),
                Access::Scans(reason) => {
                    assert!(reason.len() > 10, "{}", statement.name);
                    continue;
                }
            };
            assert!(!all.is_empty(), "{}", statement.name);
            for index in all.iter().chain(one_of) {
                assert!(migrations.contains(index), "{}: {index}", statement.name);
            }
            assert!(statement.max_rows > 0, "{}", statement.name);
        }
    }

    #[test]
    fn notes_tell_why_a_write_did_nothing() {
        let outcome = |json: Option<&str>, note: Option<&str>| {
            let (json, note) = (json.map(str::to_owned), note.map(str::to_owned));
            format!("{:?}", Outcome::from(Answer { json, note }))
        };
        assert_eq!(outcome(Some("{}"), None), "Done(\"{}\")");
        assert_eq!(outcome(None, Some("absent")), "Absent");
        assert_eq!(outcome(None, None), "Absent");
        assert_eq!(
            outcome(None, Some("refused executing")),
            "Refused(\"executing\")"
        );
        assert_eq!(outcome(None, Some("dangling")), "Dangling");
    }
}
