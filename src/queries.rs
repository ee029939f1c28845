//! Every SQL statement there is, a file for each table, and [`ALL`] that lists them for tests and reports.
//!
//! Functions here take checked values and give JSON text as PostgreSQL shaped it. They never see HTTP.

pub mod agents;
pub mod health;
pub mod performance;

use crate::db::Statement;

/// The registry: what isn't listed here mustn't run.
pub static ALL: &[&Statement] = &[
    &agents::AGENT_LIST,
    &agents::AGENT_LIST_ACTIVE,
    &agents::AGENT_LIST_TYPE,
    &agents::AGENT_LIST_TYPE_ACTIVE,
    &agents::AGENT_GET,
    &agents::AGENT_GET_BY_NAME,
    &health::READINESS,
    &performance::PERFORMANCE_DATABASE,
];

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
            + &std::fs::read_to_string("migrations/0002_indexes.sql").unwrap();
        for statement in ALL {
            match statement.access {
                Access::Indexes(indexes) => {
                    assert!(!indexes.is_empty(), "{}", statement.name);
                    for index in indexes {
                        assert!(migrations.contains(index), "{}: {index}", statement.name);
                    }
                }
                Access::Scans(reason) => assert!(reason.len() > 10, "{}", statement.name),
            }
            assert!(statement.max_rows > 0, "{}", statement.name);
        }
    }
}
