//! Every statement of the registry, explained as it stands on a database of a realistic size: it uses the indexes it
//! declares, scans no large table, and sorts no more than a page.
//!
//! The size: 1,000,000 messages, 200 agents, 500 channels, 100,000 workflows, 500,000 workflow tasks (`scripts/seed`).

mod parameters;
mod plan;

use reznet_edge::db::{Access, Statement};
use reznet_edge::queries::ALL;
use support::Database;
use tokio_postgres::Client;

use parameters::Rows;

async fn findings(client: &Client, rows: &Rows, statement: &Statement) -> Vec<String> {
    let parameters = rows.parameters(statement.name);
    let plan = plan::explain(client, statement.sql, &parameters).await;
    plan::findings(statement, &plan)
}

/// One database for all: seeding takes a minute.
#[tokio::test]
async fn every_statement_keeps_its_promises_and_the_suite_notices_when_one_does_not() {
    let database = Database::seeded().await;
    let mut client = database.client().await;
    client
        .batch_execute("SET TimeZone = 'UTC'; SET jit = off")
        .await
        .unwrap();
    let rows = Rows::of(&client).await;

    let mut broken = Vec::new();
    // It reads pg_stat_statements, which only a superuser can install here; tests/fleet/accuracy.rs runs it where it's
    // there.
    let explained = ALL
        .iter()
        .filter(|statement| statement.name != "performance_top_statements");
    for statement in explained {
        for finding in findings(&client, &rows, statement).await {
            broken.push(format!("{}: {finding}", statement.name));
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");

    dropping_an_index_is_noticed(&mut client, &rows).await;
    losing_an_index_to_a_cast_is_noticed(&client, &rows).await;
    declaring_nothing_is_noticed(&client, &rows).await;
}

/// Each index that a statement declares, dropped in a transaction that's rolled back; those of which one will do, together.
async fn dropping_an_index_is_noticed(client: &mut Client, rows: &Rows) {
    let mut dropped = 0;
    for statement in ALL {
        let (all, one_of) = match statement.access {
            Access::Indexes(indexes) => (indexes, &[][..]),
            Access::IndexesAndOneOf(indexes, one_of) => (indexes, one_of),
            Access::Inserts(_) | Access::Scans(_) => continue,
        };
        let one_by_one = all.iter().map(std::slice::from_ref);
        for indexes in one_by_one.chain([one_of]) {
            // Primary keys carry foreign keys: they can't just be dropped.
            if indexes.is_empty() || indexes.iter().any(|index| !index.starts_with("idx_")) {
                continue;
            }
            let transaction = client.transaction().await.unwrap();
            let drop = format!("DROP INDEX {}", indexes.join(", "));
            transaction.batch_execute(&drop).await.unwrap();
            let found = findings(transaction.client(), rows, statement).await;
            let name = statement.name;
            assert!(
                found.iter().any(|finding| finding.contains(indexes[0])),
                "{name}: {drop}: {found:?}"
            );
            transaction.rollback().await.unwrap();
            dropped += 1;
        }
    }
    assert!(dropped > 10, "only {dropped} declared indexes were dropped");
}

async fn losing_an_index_to_a_cast_is_noticed(client: &Client, rows: &Rows) {
    let statement = ALL
        .iter()
        .find(|statement| statement.name == "message_get")
        .expect("it's registered");
    let sql: &'static str = statement
        .sql
        .replace("id = $1::uuid", "id::text = $1::text")
        .leak();
    assert_ne!(sql, statement.sql);
    let cast = Statement {
        name: statement.name,
        sql,
        access: Access::Indexes(&["messages_pkey"]),
        max_rows: statement.max_rows,
    };
    let found = findings(client, rows, &cast).await;
    assert_eq!(found, ["it doesn't use messages_pkey", "it scans messages"]);
}

async fn declaring_nothing_is_noticed(client: &Client, rows: &Rows) {
    let statement = Statement {
        name: "message_get",
        sql: "SELECT content FROM messages WHERE content = $1::text",
        access: Access::Indexes(&[]),
        max_rows: 1,
    };
    let found = findings(client, rows, &statement).await;
    assert_eq!(
        found,
        [
            "it declares neither an index nor why it scans",
            "it scans messages"
        ]
    );
}
