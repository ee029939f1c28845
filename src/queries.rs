//! All SQL statements, with a file for each table. [`ALL`] lists them for tests and reports.
//!
//! The functions take validated values and return JSON text as PostgreSQL built it. The module doesn't depend on HTTP.
//!
//! Each statement returns at most one row: a column with JSON, and one with a note. The note of a list identifies the page's rows, and has the next
//! page's cursor. The note of a write is the row's new tag, the tag and the row's id after a creation, or the reason why nothing was written
//! ([`Outcome`]).

pub mod agents;
pub mod cache;
pub mod channels;
pub mod fleet;
pub mod fleet_report;
pub mod health;
pub mod idempotency;
mod index_report;
mod list;
pub mod messages;
pub mod metrics;
pub mod performance;
pub mod references;
pub mod replica;
mod report;
mod row;
pub mod stats;
pub mod tasks;
pub mod workflow_tasks;
pub mod workflows;

pub use list::{ANY_TAG, Combination, Items, List, ListOf, Order, Page, TAG_LENGTH, tag_is_in};
pub use row::{IfMatch, Row};
use std::sync::LazyLock;

use uuid::Uuid;

use crate::db::{Answer, Db, Parameter, Statement};

/// The lists, each with statements for every combination of its filters.
pub static LISTS: &[&LazyLock<List>] = &[
    &agents::AGENT_LIST,
    &agents::AGENT_MESSAGE_LIST,
    &channels::CHANNEL_LIST,
    &channels::CHANNEL_MESSAGE_LIST,
    &messages::MESSAGE_LIST,
    &tasks::TASK_LIST,
    &workflow_tasks::WORKFLOW_TASK_LIST,
    &workflows::WORKFLOW_LIST,
];

/// The registry of statements. The component may run only statements that are listed here.
pub static ALL: LazyLock<Vec<&'static Statement>> = LazyLock::new(|| {
    let statements: &[&Statement] = &[
        &agents::AGENT_CREATE,
        &agents::AGENT_GET,
        &agents::AGENT_GET_BY_NAME,
        &agents::AGENT_UPDATE,
        &agents::AGENT_SET_ACTIVE,
        &agents::AGENT_STATUS,
        &agents::AGENT_DM_CHANNEL,
        &cache::PERFORMANCE_CACHE,
        &channels::CHANNEL_CREATE,
        &channels::CHANNEL_GET,
        &channels::CHANNEL_UPDATE,
        &channels::CHANNEL_ARCHIVE,
        &channels::CHANNEL_CLEAR,
        &fleet::FLEET_COMPACT,
        &fleet::FLEET_FLUSH,
        &fleet::FLEET_INDEX_SCANS,
        &fleet::FLEET_ROLLUP,
        &fleet::SLOW_QUERY_KEEP,
        &health::READINESS,
        &idempotency::WRITE_ONCE,
        &messages::MESSAGE_CREATE,
        &messages::MESSAGE_GET,
        &metrics::PERFORMANCE_METRICS,
        &metrics::PERFORMANCE_METRICS_CONNECTIONS,
        &metrics::PERFORMANCE_METRICS_HISTOGRAMS,
        &metrics::PERFORMANCE_METRICS_SAMPLES,
        &performance::PERFORMANCE_DATABASE,
        &performance::PERFORMANCE_CACHE_HITS,
        &performance::PERFORMANCE_CONNECTIONS,
        &performance::PERFORMANCE_INDEX_BUILDS,
        &performance::PERFORMANCE_INDEX_USAGE,
        &index_report::PERFORMANCE_INDEXES,
        &performance::PERFORMANCE_SETTINGS,
        &performance::PERFORMANCE_TABLE_SIZES,
        &performance::PERFORMANCE_TABLES,
        &performance::PERFORMANCE_TOP_STATEMENTS,
        &fleet_report::PERFORMANCE_FLEET,
        &fleet_report::PERFORMANCE_INDEX_SCANS,
        &fleet_report::PERFORMANCE_MEASURED,
        &fleet_report::PERFORMANCE_PROFILER,
        &fleet_report::PERFORMANCE_SLOW_QUERIES,
        &references::REFERENCE_CHECK,
        &replica::REPLICA_STATE,
        &replica::WRITE_POSITION,
        &stats::STATS,
        &tasks::TASK_CREATE,
        &tasks::TASK_GET,
        &tasks::TASK_UPDATE,
        &workflow_tasks::WORKFLOW_TASK_CREATE,
        &workflow_tasks::WORKFLOW_TASK_GET,
        &workflow_tasks::WORKFLOW_TASK_UPDATE,
        &workflow_tasks::WORKFLOW_TASK_CLAIM,
        &workflow_tasks::WORKFLOW_TASK_CLAIM_WORKFLOW,
        &workflows::WORKFLOW_CREATE,
        &workflows::WORKFLOW_GET,
        &workflows::WORKFLOW_DELETE,
        &workflows::WORKFLOW_START,
        &workflows::WORKFLOW_CANCEL,
    ];
    let lists = LISTS.iter().flat_map(|list| list.statements());
    statements.iter().copied().chain(lists).collect()
});

/// The result of a write.
#[derive(Debug)]
pub enum Outcome {
    /// The write was executed. Contains the row after the write, with its new tag.
    Done(Row),
    /// The row does not exist.
    Absent,
    /// No tag in `If-Match` matches. Contains the row's current tag.
    Stale(String),
    /// A state, such as `archived`, forbids the write. Contains the name of that state.
    Refused(String),
    /// The body refers to rows that don't exist. `references::dangling` finds them.
    Dangling,
}

impl From<Answer> for Outcome {
    fn from(answer: Answer) -> Self {
        if let Some(json) = answer.json {
            let (tag, id) = match answer.note.as_deref().map(|note| note.split_once(' ')) {
                Some(Some((tag, id))) => (Some(tag.to_owned()), Uuid::try_parse(id).ok()),
                _ => (answer.note, None),
            };
            return Self::Done(Row {
                json,
                tag,
                created_id: id,
            });
        }
        let note = answer.note.unwrap_or_default();
        match note.split_once(' ') {
            Some(("stale", tag)) => Self::Stale(tag.to_owned()),
            Some(("refused", state)) => Self::Refused(state.to_owned()),
            None if note == "dangling" => Self::Dangling,
            _ => Self::Absent,
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::{Access, Effect};

    #[test]
    fn statement_names_are_unique_and_in_snake_case() {
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
        let (mut defined, mut lists) = (0, 0);
        for file in std::fs::read_dir("src/queries").unwrap() {
            let source = std::fs::read_to_string(file.unwrap().path()).unwrap();
            for statement in [": Statement = Statement {", ": LazyLock<Statement> = "] {
                defined += source.matches(statement).count();
            }
            lists += source.matches(": LazyLock<List> = ").count();
        }
        assert_eq!(lists, LISTS.len(), "a list is missing in queries::LISTS");
        defined += LISTS
            .iter()
            .map(|list| list.statements().count())
            .sum::<usize>();
        assert_eq!(defined, ALL.len(), "a statement is missing in queries::ALL");
    }

    #[test]
    fn declared_indexes_exist_in_migrations_and_scans_state_a_reason() {
        let files = std::fs::read_dir("migrations").unwrap();
        let migrations: String = files
            .map(|file| file.unwrap().path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "sql"))
            .map(|path| std::fs::read_to_string(path).unwrap())
            .collect();
        for statement in ALL.iter() {
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
    fn declared_effects_agree_with_the_text() {
        let table =
            regex_lite::Regex::new(r"(?:INSERT INTO|UPDATE|DELETE FROM) (?:public\.)?([a-z_.]+)")
                .unwrap();
        for statement in ALL.iter() {
            let sql = statement.sql;
            let mut written: Vec<_> = table
                .captures_iter(sql)
                .map(|found| found[1].to_owned())
                .collect();
            written.sort();
            written.dedup();
            // This statement calls the function `write_once`, which inserts the key, so the statement's text does not name the table.
            if statement.name == "write_once" {
                written.push("idempotency_keys".to_owned());
            }
            let declared = match statement.effect {
                Effect::Reads => &[],
                Effect::Writes(tables) => tables,
            };
            assert_eq!(written, declared, "{}", statement.name);
        }
    }

    #[test]
    fn notes_map_to_write_outcomes() {
        let outcome = |json: Option<&str>, note: Option<&str>| {
            let (json, note) = (json.map(str::to_owned), note.map(str::to_owned));
            format!("{:?}", Outcome::from(Answer { json, note }))
        };
        let done = outcome(Some("{}"), Some("0123456789abcdef"));
        assert_eq!(
            done,
            "Done(Row { json: \"{}\", tag: Some(\"0123456789abcdef\"), created_id: None })"
        );
        let id = "4a922d03-4c26-4ca9-a1ce-5625fd2f50f6";
        let created = outcome(Some("{}"), Some(&format!("0123456789abcdef {id}")));
        assert_eq!(
            created,
            format!(
                "Done(Row {{ json: \"{{}}\", tag: Some(\"0123456789abcdef\"), created_id: Some({id}) }})"
            )
        );
        assert_eq!(
            outcome(None, Some("stale 0123456789abcdef")),
            "Stale(\"0123456789abcdef\")"
        );
        assert_eq!(outcome(None, Some("absent")), "Absent");
        assert_eq!(outcome(None, None), "Absent");
        assert_eq!(
            outcome(None, Some("refused executing")),
            "Refused(\"executing\")"
        );
        assert_eq!(outcome(None, Some("dangling")), "Dangling");
    }
}
