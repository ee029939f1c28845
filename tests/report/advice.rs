//! The report's advice on creating and dropping indexes.

use std::collections::BTreeSet;

use serde_json::Value;
use support::{Database, Edge};

/// Returns the object of each piece of advice with this name. The object is the first word of the detail.
fn about(report: &Value, name: &str) -> BTreeSet<String> {
    let advice = report["advice"].as_array().expect("a list");
    let of_name = advice.iter().filter(|one| one["name"] == name);
    of_name
        .map(|one| {
            let detail = one["detail"].as_str().expect("a text");
            detail.split(' ').next().unwrap_or_default().to_owned()
        })
        .collect()
}

async fn report(database: &Database) -> Value {
    let edge = Edge::start_with(database, &[("profiling", "off")], &[]).await;
    edge.get("/api/performance/database").await.json()
}

#[tokio::test]
async fn foreign_key_is_covered_by_an_index_that_starts_with_its_columns() {
    let cases = [
        ("(a, b)", true),
        ("(b, a)", true),
        ("(b, a, c)", true),
        ("(a DESC NULLS LAST, b)", true),
        ("(a, b) INCLUDE (c)", true),
        ("(a, b) WHERE a IS NOT NULL", true),
        ("(a, b) WHERE b IS NOT NULL", true),
        ("(a, b) WHERE a IS NOT NULL AND b IS NOT NULL", true),
        ("(a) INCLUDE (b)", false),
        ("(a)", false),
        ("(a, c, b)", false),
        ("(a, (b + 0))", false),
        ("(a, b) WHERE c > 0", false),
        ("(a, b) WHERE c IS NOT NULL", false),
        ("USING brin (a, b)", false),
    ];
    let text_cases = [
        ("(t)", true),
        ("USING hash (t)", true),
        ("(t text_pattern_ops)", true),
        ("(t COLLATE \"POSIX\")", false),
        ("(lower(t))", false),
        ("USING brin (t)", false),
    ];
    let database = Database::migrated().await;
    let client = database.client().await;
    client
        .batch_execute(
            "CREATE TABLE parent (x int, y int, PRIMARY KEY (x, y));
             CREATE TABLE text_parent (t text PRIMARY KEY)",
        )
        .await
        .unwrap();
    let mut uncovered = BTreeSet::new();
    let all = cases
        .iter()
        .map(|case| (case, "FOREIGN KEY (a, b) REFERENCES parent"));
    let texts = text_cases
        .iter()
        .map(|case| (case, "FOREIGN KEY (t) REFERENCES text_parent"));
    for (n, ((index, covers), key)) in all.chain(texts).enumerate() {
        let using = if index.starts_with("USING") {
            *index
        } else {
            &format!("USING btree {index}")
        };
        let sql = format!(
            "CREATE TABLE child{n} (a int, b int, c int, t text, CONSTRAINT key{n} {key});
             CREATE INDEX child{n}_i ON child{n} {using}"
        );
        client
            .batch_execute(&sql)
            .await
            .unwrap_or_else(|error| panic!("{sql}: {error}"));
        if !covers {
            uncovered.insert((n, *index));
        }
    }
    // An invalid index doesn't cover a foreign key. This unique index becomes invalid, because two rows have the same values.
    client
        .batch_execute(
            "INSERT INTO parent VALUES (1, 1);
             CREATE TABLE invalid (a int, b int, CONSTRAINT key_invalid FOREIGN KEY (a, b) REFERENCES parent);
             INSERT INTO invalid VALUES (1, 1), (1, 1)",
        )
        .await
        .unwrap();
    let broken = "CREATE UNIQUE INDEX CONCURRENTLY broken ON invalid (a, b)";
    assert!(client.batch_execute(broken).await.is_err());
    let mut expected: BTreeSet<_> = uncovered.iter().map(|(n, _)| format!("key{n}")).collect();
    expected.insert("key_invalid".to_owned());
    let found = about(&report(&database).await, "unindexed_foreign_key");
    assert_eq!(found, expected, "{uncovered:?}");
}

#[tokio::test]
async fn index_drop_is_advised_only_if_another_index_replaces_it() {
    // Each case has the definitions of two indexes, and the expected advice on dropping the second. The first must be kept.
    let cases = [
        ("INDEX", "(a, b)", "INDEX", "(a, b)", "duplicate"),
        ("INDEX", "(a, b)", "INDEX", "(a, b DESC)", ""),
        ("INDEX", "(a, b)", "INDEX", "(a NULLS FIRST, b)", ""),
        ("INDEX", "(t)", "INDEX", "(t COLLATE \"POSIX\")", ""),
        ("INDEX", "(t)", "INDEX", "(t text_pattern_ops)", ""),
        ("INDEX", "(a)", "INDEX", "USING hash (a)", ""),
        ("INDEX", "(a)", "INDEX", "(a) WHERE b > 0", ""),
        (
            "INDEX",
            "(a) WHERE b > 0",
            "INDEX",
            "(a) WHERE b > 0",
            "duplicate",
        ),
        ("INDEX", "(a) WHERE b > 0", "INDEX", "(a) WHERE b > 1", ""),
        ("INDEX", "(lower(t))", "INDEX", "(lower(t))", "duplicate"),
        ("INDEX", "(lower(t))", "INDEX", "(upper(t))", ""),
        ("INDEX", "(a) INCLUDE (b)", "INDEX", "(a)", "duplicate"),
        (
            "INDEX",
            "(a) INCLUDE (b, c)",
            "INDEX",
            "(a) INCLUDE (c)",
            "duplicate",
        ),
        ("INDEX", "(a) INCLUDE (b)", "INDEX", "(a) INCLUDE (c)", ""),
        ("UNIQUE INDEX", "(a)", "INDEX", "(a)", "duplicate"),
        ("INDEX", "(a) INCLUDE (b)", "UNIQUE INDEX", "(a)", ""),
        ("UNIQUE INDEX", "(a)", "UNIQUE INDEX", "(a)", "duplicate"),
        ("INDEX", "(a, b)", "INDEX", "(a)", "covered"),
        ("INDEX", "(a, b)", "INDEX", "(b)", ""),
        ("INDEX", "(a, b)", "UNIQUE INDEX", "(a)", ""),
        ("INDEX", "(a, b)", "INDEX", "(a) INCLUDE (b)", "covered"),
        ("INDEX", "(a, b)", "INDEX", "(a) INCLUDE (c)", ""),
        ("INDEX", "(a, b)", "INDEX", "(a) WHERE b > 0", ""),
        (
            "INDEX",
            "(a, b) WHERE c > 0",
            "INDEX",
            "(a) WHERE c > 0",
            "covered",
        ),
        ("INDEX", "(a DESC, b)", "INDEX", "(a)", ""),
    ];
    let database = Database::migrated().await;
    let client = database.client().await;
    let (mut duplicate, mut covered) = (BTreeSet::new(), BTreeSet::new());
    for (n, (kept, kept_of, other, other_of, outcome)) in cases.iter().enumerate() {
        let using = |of: &str| {
            if of.starts_with("USING") {
                of.to_owned()
            } else {
                format!("USING btree {of}")
            }
        };
        let sql = format!(
            "CREATE TABLE t{n} (a int, b int, c int, t text);
             CREATE {kept} kept{n} ON t{n} {};
             CREATE {other} other{n} ON t{n} {}",
            using(kept_of),
            using(other_of)
        );
        client
            .batch_execute(&sql)
            .await
            .unwrap_or_else(|error| panic!("{sql}: {error}"));
        match *outcome {
            "duplicate" => duplicate.insert(format!("other{n}")),
            "covered" => covered.insert(format!("other{n}")),
            _ => false,
        };
    }
    // In each of these tables, several unique indexes have the same columns, but some of them must stay.
    client
        .batch_execute(
            "CREATE TABLE n1 (a int NOT NULL, PRIMARY KEY (a));
             CREATE UNIQUE INDEX of_primary ON n1 (a);
             CREATE TABLE n2 (a int NOT NULL);
             CREATE UNIQUE INDEX of_replicas ON n2 (a);
             CREATE UNIQUE INDEX of_replicas_too ON n2 (a);
             ALTER TABLE n2 REPLICA IDENTITY USING INDEX of_replicas_too;
             CREATE TABLE n3 (a int);
             CREATE UNIQUE INDEX of_key ON n3 (a);
             CREATE TABLE n3_child (a int PRIMARY KEY REFERENCES n3 (a));
             CREATE UNIQUE INDEX of_key_too ON n3 (a);
             CREATE TABLE n4 (a int, UNIQUE (a) DEFERRABLE);
             CREATE UNIQUE INDEX of_immediate ON n4 (a);
             CREATE TABLE n5 (a int, CONSTRAINT n5_one UNIQUE (a));
             ALTER TABLE n5 ADD CONSTRAINT n5_two UNIQUE (a)",
        )
        .await
        .unwrap();
    duplicate.extend(["of_primary", "of_replicas", "of_key_too", "n5_two"].map(str::to_owned));
    let report = report(&database).await;
    assert_eq!(about(&report, "duplicate_index"), duplicate);
    assert_eq!(about(&report, "covered_index"), covered);
}
