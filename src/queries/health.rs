//! Checks that the database has the migrations, indexes and other objects that this version of the component needs.

use super::names;
use crate::db::{Access, Db, DbError, Effect, Parameter, Statement};

/// The migrations that this version needs: a line for each file, without `.sql`. scripts/generate writes the list.
const MIGRATIONS: &str = include_str!("../../requirements/migrations.txt");

/// A named index that queries rely on, with its definition in the form of PostgreSQL's `pg_get_indexdef`.
#[derive(Clone, Copy, Debug)]
pub struct NamedIndex {
    /// The index's name.
    pub name: &'static str,
    /// The statement that creates it.
    pub definition: &'static str,
}

macro_rules! named_indexes {
    ($($name:literal: $create:literal, $of:literal;)*) => {
        /// The names of the sixteen indexes that queries rely on.
        pub const INDEXES: &[&str] = &[$($name),*];

        /// The same indexes as [`INDEXES`], with their definitions.
        pub const NAMED_INDEXES: &[NamedIndex] = &[$(NamedIndex {
            name: $name,
            definition: concat!($create, " ", $name, " ON public.", $of),
        }),*];
    };
}

named_indexes! {
    "idx_agents_name": "CREATE UNIQUE INDEX", "agents USING btree (name)";
    "idx_agents_type": "CREATE INDEX", "agents USING btree (agent_type, created_at, id)";
    "idx_agents_active": "CREATE INDEX", "agents USING btree (is_active, created_at, id)";
    "idx_agents_type_active": "CREATE INDEX", "agents USING btree (agent_type, is_active, created_at, id)";
    "idx_messages_channel_id": "CREATE INDEX", "messages USING btree (channel_id)";
    "idx_messages_created_at": "CREATE INDEX", "messages USING btree (created_at, id)";
    "idx_messages_author_id": "CREATE INDEX", "messages USING btree (author_id, author_type, created_at, id)";
    "idx_messages_channel_created": "CREATE INDEX", "messages USING btree (channel_id, created_at)";
    "idx_workflows_status": "CREATE INDEX", "workflows USING btree (status)";
    "idx_workflows_created_at": "CREATE INDEX", "workflows USING btree (created_at, id)";
    "idx_workflows_channel_id": "CREATE INDEX", "workflows USING btree (channel_id, created_at, id)";
    "idx_workflows_status_created": "CREATE INDEX", "workflows USING btree (status, created_at)";
    "idx_workflow_tasks_workflow_id": "CREATE INDEX", "workflow_tasks USING btree (workflow_id, order_index, id)";
    "idx_workflow_tasks_status": "CREATE INDEX", "workflow_tasks USING btree (status, agent_id, order_index NULLS FIRST, id NULLS FIRST)";
    "idx_workflow_tasks_order": "CREATE INDEX", "workflow_tasks USING btree (order_index)";
    "idx_workflow_tasks_workflow_status": "CREATE INDEX", "workflow_tasks USING btree (workflow_id, status, order_index, id)";
}

pub(super) static READINESS: Statement = Statement {
    name: "readiness",
    // scripts/migrate runs the same text, so it checks the same requirements. Here, warnings and details for the operator are left out.
    sql: constcat::concat![
        "SELECT json_build_object(
            'missing_migrations',
            coalesce(json_agg(object ORDER BY object) FILTER (WHERE kind = 'migration'), '[]'),
            'missing_indexes',
            coalesce(json_agg(object ORDER BY object) FILTER (WHERE kind = 'index'), '[]'),
            'problems',
            coalesce(json_agg(json_build_object('kind', kind, 'object', object, 'detail', detail) ORDER BY kind, object)
                FILTER (WHERE kind NOT IN ('migration', 'index')), '[]'))::text
        FROM (
        ",
        include_str!("../../requirements/requirements.sql"),
        ") AS finding
        WHERE severity = 'error'"
    ],
    effect: Effect::Reads,
    access: Access::Scans("a handful of names against the ledger and the catalogue"),
    max_rows: 1,
};

/// Returns the unmet requirements as JSON `{missing_migrations: [], missing_indexes: [], problems: [{kind, object, detail}]}`.
/// Checks the privileges of the session's user.
pub async fn readiness(db: &Db) -> Result<Option<String>, DbError> {
    let parameters = vec![
        Parameter::DbNull,
        names(&MIGRATIONS.lines().collect::<Vec<_>>()),
    ];
    Ok(db.answer(&READINESS, parameters).await?.json)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_migration_list_matches_the_files() {
        let mut files: Vec<_> = std::fs::read_dir("migrations")
            .unwrap()
            .filter_map(|file| {
                let name = file.unwrap().file_name().into_string().unwrap();
                name.strip_suffix(".sql").map(str::to_owned)
            })
            .collect();
        files.sort();
        assert_eq!(files, MIGRATIONS.lines().collect::<Vec<_>>());
    }

    #[test]
    fn the_index_list_matches_the_migration() {
        let migration = std::fs::read_to_string("migrations/0002_indexes.sql").unwrap();
        assert_eq!(migration.matches(" IF NOT EXISTS idx_").count(), 16);
        assert_eq!(INDEXES.len(), 16);
        for index in INDEXES {
            assert!(migration.contains(&format!(" {index} ON ")), "{index}");
        }
        // The file is a dump of the schema after all migrations.
        let schema = std::fs::read_to_string("tests/migrations/schema.sql").unwrap();
        for index in NAMED_INDEXES {
            let definition = format!("\n{};\n", index.definition);
            assert!(schema.contains(&definition), "{definition}");
        }
    }

    #[test]
    fn requirements_name_the_sixteen_indexes() {
        let requirements = READINESS.sql;
        let named: Vec<_> = requirements
            .lines()
            .filter(|line| line.contains("('public', 'idx_") && line.contains(", true)"))
            .collect();
        assert_eq!(named.len(), INDEXES.len(), "{named:#?}");
        for index in INDEXES {
            let is_named = named
                .iter()
                .any(|line| line.contains(&format!("'{index}', ")));
            assert!(is_named, "{index}");
        }
    }
}
