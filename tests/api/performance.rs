//! /api/performance/database

use http::StatusCode;
use support::{Database, Edge};

#[tokio::test]
async fn performance_database_reports_pool_indexes_and_sizes() {
    let database = Database::migrated().await;
    let edge = Edge::start_with(&database, &[("db_pool_size", "10")], &[]).await;
    let answer = edge.get("/api/performance/database").await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    assert_eq!(answer.query_count(), 1);
    let report = answer.json();

    let pool = &report["connection_pool"];
    assert_eq!(pool["pool_size"], 10);
    assert_eq!(pool["overflow"], 0);
    let count = |member: &str| {
        pool[member]
            .as_u64()
            .unwrap_or_else(|| panic!("{member}: {pool}"))
    };
    assert!(
        count("checked_out") >= 1,
        "the one that asks is checked out: {pool}"
    );
    assert_eq!(
        count("checked_in") + count("checked_out"),
        count("total_connections")
    );

    let indexes = report["index_usage"].as_array().expect("a list");
    let named = indexes
        .iter()
        .filter(|index| {
            index["index"]
                .as_str()
                .is_some_and(|name| name.starts_with("idx_"))
        })
        .count();
    assert_eq!(named, 16, "{indexes:?}");
    for member in ["scans", "tuples_read", "tuples_fetched"] {
        assert!(indexes[0][member].is_u64(), "{member}: {indexes:?}");
    }

    let tables = report["table_sizes"].as_array().expect("a list");
    let agents = tables
        .iter()
        .find(|table| table["table"] == "agents")
        .expect("agents is listed");
    assert!(agents["size_bytes"].as_u64() > Some(0));
    assert!(agents["size"].is_string());

    let logging = &report["slow_query_logging"];
    assert_eq!(logging["query_warn_ms"], 100);
    assert!(
        !logging["recommendations"]
            .as_array()
            .expect("a list")
            .is_empty()
    );
    assert_eq!(report["nfr_target"], "< 100ms per query (95th percentile)");
}

#[tokio::test]
async fn index_usage_counts_what_ran() {
    let database = Database::migrated().await;
    let edge = Edge::start(&database).await;
    let scans = async || {
        let report = edge.get("/api/performance/database").await.json();
        let indexes = report["index_usage"].as_array().expect("a list").clone();
        let index = indexes.iter().find(|index| index["index"] == "agents_pkey");
        index
            .and_then(|index| index["scans"].as_u64())
            .expect("agents_pkey is listed")
    };
    let before = scans().await;
    // A handful of agents is scanned faster than any index; without that, the index must be taken.
    let client = database.client().await;
    client
        .batch_execute(
            "SET enable_seqscan = off;
             SELECT FROM agents WHERE id = '00000000-0000-0000-0000-000000000000';
             SELECT pg_stat_force_next_flush()",
        )
        .await
        .unwrap();
    drop(client);
    let mut after = scans().await;
    for _ in 0..50 {
        if after > before {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        after = scans().await;
    }
    assert!(after > before, "{after} scans after {before}");
}
