//! Explains every statement of the registry on a database of a realistic size. A statement must use the indexes that it declares, must not
//! scan a large table, and must not sort more rows than a page has. Lists, lookups and claims must read about as many rows as they return.
//!
//! `scripts/seed` creates 1,000,000 messages, 200 agents, 500 channels, 100,000 workflows and 500,000 workflow tasks. The suite adds some
//! unevenly distributed rows. All checks run twice: with messages in one table, and with messages in partitions by month
//! (`migrations/optional/messages_by_month.sql`).

mod parameters;
mod plan;
mod reads;

use reznet_edge::db::{Access, Effect, Statement};
use reznet_edge::queries::ALL;
use support::Database;
use tokio_postgres::Client;

use parameters::Rows;
use plan::Layout;

async fn findings(
    client: &Client,
    rows: &Rows,
    layout: &Layout,
    statement: &Statement,
) -> Vec<String> {
    let parameters = rows.parameters(statement.name);
    let plan = plan::explain(client, statement.sql, &parameters).await;
    plan::findings(statement, &plan, layout)
}

/// Uses one database for all checks, because seeding takes a minute.
#[tokio::test]
async fn statement_plans_match_declared_access_and_violations_are_found() {
    let database = Database::seeded().await;
    let mut client = database.client().await;
    client
        .batch_execute("SET TimeZone = 'UTC'; SET jit = off")
        .await
        .unwrap();
    client.batch_execute(reads::UNEVEN).await.unwrap();
    // Sends VACUUM separately, because it can't run in a transaction with the inserts.
    client
        .batch_execute(
            "VACUUM (ANALYZE) agents, channels, messages, tasks, workflows, workflow_tasks",
        )
        .await
        .unwrap();
    let rows = Rows::of(&client).await;
    check(&mut client, &rows).await;

    database.optional("optional", "messages_by_month").await;
    client
        .batch_execute("CALL messages_mirror_drop()")
        .await
        .unwrap();
    let partitions = client
        .query_one("SELECT count(*) FROM messages_partitions()", &[])
        .await
        .unwrap()
        .get::<_, i64>(0);
    assert!(
        partitions > 12,
        "there are only {partitions} partitions, fewer than months since 2025"
    );
    check(&mut client, &rows).await;
}

/// Runs all checks on the current layout of messages: one table, or partitions by month.
async fn check(client: &mut Client, rows: &Rows) {
    let layout = Layout::of(client).await;
    let mut broken = Vec::new();
    for statement in ALL.iter() {
        for finding in findings(client, rows, &layout, statement).await {
            broken.push(format!("{}: {finding}", statement.name));
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");

    inner_statements_use_their_index(client, rows, &layout).await;
    reads::reads_are_bounded(client, rows, &layout).await;
    dropping_an_index_is_noticed(client, rows, &layout).await;
    losing_an_index_to_a_cast_is_noticed(client, rows, &layout).await;
    declaring_nothing_is_noticed(client, rows, &layout).await;
}

/// Explains the inner statements that a statement runs by `execute_now`, because the plan of the outer statement doesn't show them.
async fn inner_statements_use_their_index(client: &Client, rows: &Rows, layout: &Layout) {
    let mut explained = 0;
    for statement in ALL.iter() {
        let sql = statement.sql;
        for (index, inner) in sql.split("$do$").enumerate() {
            if index % 2 == 0 {
                continue;
            }
            let inner = inner.replace("$1", "$1::uuid");
            let workflow = [rows.parameters("workflow_get").remove(0)];
            let plan = plan::explain(client, &inner, &workflow).await;
            let promised = Statement {
                effect: Effect::Writes(&["workflows"]),
                access: Access::Indexes(&["workflows_pkey"]),
                sql: inner.leak(),
                ..**statement
            };
            let found = plan::findings(&promised, &plan, layout);
            assert!(found.is_empty(), "{}: {found:?}", statement.name);
            explained += 1;
        }
    }
    assert_eq!(
        explained, 2,
        "workflow_start and workflow_cancel must each have an inner statement"
    );
}

/// Shows that the check of plans fails if an index is missing. For each index that a statement declares, drops the index and checks the
/// statement again, in a transaction that is rolled back. Indexes that are alternatives to each other are dropped together.
async fn dropping_an_index_is_noticed(client: &mut Client, rows: &Rows, layout: &Layout) {
    let mut dropped = 0;
    for statement in ALL.iter() {
        let (all, one_of) = match statement.access {
            Access::Indexes(indexes) => (indexes, &[][..]),
            Access::IndexesAndOneOf(indexes, one_of) => (indexes, one_of),
            Access::Inserts(_) | Access::Scans(_) => continue,
        };
        let one_by_one = all.iter().map(std::slice::from_ref);
        for indexes in one_by_one.chain([one_of]) {
            // Skips the indexes of constraints, because DROP INDEX can't drop them.
            let is_constraint = |index: &&str| index.ends_with("_pkey") || index.ends_with("_key");
            if indexes.is_empty() || indexes.iter().any(is_constraint) {
                continue;
            }
            let transaction = client.transaction().await.unwrap();
            let drop = format!("DROP INDEX {}", indexes.join(", "));
            transaction.batch_execute(&drop).await.unwrap();
            let found = findings(transaction.client(), rows, layout, statement).await;
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

async fn losing_an_index_to_a_cast_is_noticed(client: &Client, rows: &Rows, layout: &Layout) {
    let statement = ALL
        .iter()
        .find(|statement| statement.name == "message_get")
        .expect("the statement is registered");
    let sql = statement
        .sql
        .replace("id = $1::uuid", "id::text = $1::text");
    assert_ne!(sql, statement.sql);
    let cast = Statement {
        name: statement.name,
        sql: sql.leak(),
        effect: Effect::Reads,
        access: Access::Indexes(&["messages_pkey"]),
        max_rows: statement.max_rows,
    };
    let found = findings(client, rows, layout, &cast).await;
    assert_eq!(found.first().unwrap(), "it doesn't use messages_pkey");
    assert!(found.len() > 1, "{found:?}");
    assert!(
        found[1..]
            .iter()
            .all(|finding| finding.starts_with("it scans messages")),
        "{found:?}"
    );
}

async fn declaring_nothing_is_noticed(client: &Client, rows: &Rows, layout: &Layout) {
    let statement = Statement {
        name: "message_get",
        sql: "SELECT content FROM messages WHERE content = $1::text",
        effect: Effect::Reads,
        access: Access::Indexes(&[]),
        max_rows: 1,
    };
    let found = findings(client, rows, layout, &statement).await;
    assert_eq!(found[0], "it declares neither an index nor why it scans");
    assert!(found[1].starts_with("it scans messages"), "{found:?}");
}
