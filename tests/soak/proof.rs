//! The checks at the end of the soak test. They compare the database with the clients' ledger, the states of rows with the state
//! machines, and the host's resources with the values before the faults. The checks change nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use support::{Cluster, Edge};
use tokio::time::sleep;
use tokio_postgres::Client;

use crate::clients::{Fate, Ledger};

/// Queries for the written rows. Each result row has the key that a row has in the ledger, and the number of rows with this key.
const WRITTEN: [(&str, &str); 3] = [
    (
        "messages",
        "SELECT content, count(*) FROM messages GROUP BY 1",
    ),
    (
        "agents",
        "SELECT name, count(*) FROM agents WHERE agent_type = 'soaked' GROUP BY 1",
    ),
    (
        "workflows",
        "SELECT description, count(*) FROM workflows GROUP BY 1",
    ),
];

/// Queries that return the IDs of rows in a forbidden state. Without a violation, they return no rows.
const ILLEGAL: [(&str, &str); 7] = [
    (
        "workflows without both of their tasks",
        "SELECT w.id::text FROM workflows w LEFT JOIN workflow_tasks t ON t.workflow_id = w.id
         GROUP BY w.id HAVING count(t.id) <> 2",
    ),
    (
        "completed workflows with open or failed tasks",
        "SELECT w.id::text FROM workflows w JOIN workflow_tasks t ON t.workflow_id = w.id
         WHERE w.status = 'completed' AND t.status NOT IN ('completed', 'skipped')",
    ),
    (
        "executing workflows without an open task",
        "SELECT w.id::text FROM workflows w WHERE w.status = 'executing' AND NOT EXISTS
         (SELECT FROM workflow_tasks t WHERE t.workflow_id = w.id AND t.status NOT IN ('completed', 'skipped'))",
    ),
    (
        "workflows that weren't started, with tasks that were",
        "SELECT w.id::text FROM workflows w JOIN workflow_tasks t ON t.workflow_id = w.id
         WHERE w.status IN ('pending', 'planning') AND t.status <> 'pending'",
    ),
    (
        "sequential workflows with two tasks under way",
        "SELECT w.id::text FROM workflows w JOIN workflow_tasks t ON t.workflow_id = w.id
         WHERE w.execution_strategy = 'sequential' AND t.status IN ('ready', 'in_progress')
         GROUP BY 1 HAVING count(*) > 1",
    ),
    (
        "tasks that began before what they depend on had ended",
        "SELECT t.id::text FROM workflow_tasks t JOIN workflows w ON w.id = t.workflow_id
         JOIN workflow_tasks d ON d.id = ANY (t.depends_on)
         WHERE w.execution_strategy = 'dag' AND t.status IN ('ready', 'in_progress', 'completed') AND d.status <> 'completed'",
    ),
    (
        "parallel workflows under way with tasks that aren't ready",
        "SELECT w.id::text FROM workflows w JOIN workflow_tasks t ON t.workflow_id = w.id
         WHERE w.execution_strategy = 'parallel' AND w.status = 'executing' AND t.status = 'pending'",
    ),
];

/// Returns all violations in the database and the ledger.
pub async fn violations(ledger: &Ledger, client: &Client) -> Vec<String> {
    let mut violations = ledger.violations.clone();
    let told = [&ledger.messages, &ledger.agents, &ledger.workflows];
    for ((what, sql), told) in WRITTEN.into_iter().zip(told) {
        let rows = client.query(sql, &[]).await.expect("the query succeeds");
        let there: BTreeMap<String, i64> =
            rows.iter().map(|row| (row.get(0), row.get(1))).collect();
        for (name, fate) in told {
            let count = there.get(name).copied().unwrap_or(0);
            let holds = match fate {
                Fate::Acknowledged => count == 1,
                Fate::Refused => count == 0,
                Fate::Unknown => count <= 1,
            };
            if !holds {
                violations.push(format!(
                    "{what}: {name} was {fate:?}, and is there {count} times"
                ));
            }
        }
        let unasked = there.keys().filter(|name| !told.contains_key(*name));
        violations.extend(unasked.map(|name| format!("{what}: nobody wrote {name}")));
    }
    for (what, sql) in ILLEGAL {
        let rows = client.query(sql, &[]).await.expect("the query succeeds");
        violations.extend(
            rows.iter()
                .map(|row| format!("{what}: {}", row.get::<_, String>(0))),
        );
    }
    violations.extend(tasks(ledger, client).await);
    let sql = "SELECT id::text FROM workflows WHERE status IN ('pending', 'planning')";
    let rows = client.query(sql, &[]).await.expect("the query succeeds");
    let unstarted: BTreeSet<String> = rows.iter().map(|row| row.get(0)).collect();
    let lost = ledger.started.iter().filter(|id| unstarted.contains(*id));
    violations.extend(lost.map(|id| format!("workflow {id} was started, and isn't")));
    let sql = "SELECT key FROM idempotency_keys";
    let rows = client.query(sql, &[]).await.expect("the query succeeds");
    let kept: BTreeSet<String> = rows.iter().map(|row| row.get(0)).collect();
    let lost = ledger.keys.iter().filter(|key| !kept.contains(*key));
    violations.extend(lost.map(|key| format!("the answer under {key} isn't kept")));
    violations
}

async fn tasks(ledger: &Ledger, client: &Client) -> Vec<String> {
    let mut violations = Vec::new();
    let mut claimed = BTreeSet::new();
    for id in &ledger.claimed {
        if !claimed.insert(id) {
            violations.push(format!("task {id} was given to two"));
        }
    }
    let sql = "SELECT id::text, status, output FROM workflow_tasks";
    let rows = client.query(sql, &[]).await.expect("the query succeeds");
    let there: BTreeMap<String, (String, Option<String>)> = rows
        .iter()
        .map(|row| (row.get(0), (row.get(1), row.get(2))))
        .collect();
    for id in claimed {
        let status = there.get(id).map(|(status, _)| status.as_str());
        if !matches!(status, Some("in_progress" | "completed")) {
            violations.push(format!("task {id} was claimed, and is {status:?}"));
        }
    }
    for (id, output) in &ledger.completed {
        let expected = ("completed".to_owned(), Some(output.clone()));
        if there.get(id) != Some(&expected) {
            violations.push(format!(
                "task {id} was completed with {output}, and is {:?}",
                there.get(id)
            ));
        }
    }
    violations
}

/// Resources of the host that must not grow.
#[derive(Debug)]
pub struct Leaks {
    /// The number of open files and sockets, without the connections to the database.
    file_count: usize,
    memory_kib: u64,
}

/// The permitted growth of the number of open files. Some growth is normal, because requests that run during the count have sockets.
const FILES_MORE: usize = 40;

/// The host's memory may grow to twice the earlier value plus this constant, which allows for a connection pool with prepared statements.
const MEMORY_MORE_KIB: u64 = 96 * 1024;

impl Leaks {
    /// Measures the host's resources now.
    pub async fn measure(cluster: &Cluster, edge: &Edge) -> Self {
        let sessions = sessions(cluster, "true").await;
        let pid = edge.pid();
        let files = std::fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count);
        Self {
            file_count: files.saturating_sub(sessions),
            memory_kib: edge.memory_kib(),
        }
    }

    /// Measures again, and returns a message for each resource that has grown too much, and for sessions and locks that remain after the last
    /// request.
    pub async fn grown(self, cluster: &Cluster, edge: &Edge) -> Vec<String> {
        let now = Self::measure(cluster, edge).await;
        // Waits, because the profiler may still run statements after the last response.
        let patience = Instant::now() + Duration::from_secs(10);
        let (mut busy, mut locks) = at_work(cluster).await;
        while (busy, locks) != (0, 0) && Instant::now() < patience {
            sleep(Duration::from_millis(100)).await;
            (busy, locks) = at_work(cluster).await;
        }
        println!(
            "held before and after: {} and {} files, {} and {} KiB; now {busy} sessions at work, {locks} locks",
            self.file_count, now.file_count, self.memory_kib, now.memory_kib
        );
        let mut violations = Vec::new();
        if now.file_count > self.file_count + FILES_MORE {
            violations.push(format!(
                "files: {} before, {} after",
                self.file_count, now.file_count
            ));
        }
        if now.memory_kib > 2 * self.memory_kib + MEMORY_MORE_KIB {
            violations.push(format!(
                "memory: {} KiB before, {} after",
                self.memory_kib, now.memory_kib
            ));
        }
        if busy > 0 || locks > 0 {
            violations.push(format!("{busy} sessions still at work, {locks} locks held"));
        }
        violations
    }
}

/// Returns the number of sessions that aren't idle, and the number of locks of all sessions.
async fn at_work(cluster: &Cluster) -> (usize, usize) {
    let sql = "SELECT count(*)::int FROM pg_locks l JOIN pg_stat_activity a USING (pid) WHERE a.usename = 'reznet_api'";
    let row = cluster.client().await.query_one(sql, &[]).await;
    let locks: i32 = row.expect("the query succeeds").get(0);
    let busy = sessions(cluster, "state <> 'idle'").await;
    (busy, usize::try_from(locks).unwrap_or_default())
}

async fn sessions(cluster: &Cluster, which: &str) -> usize {
    let sql = format!(
        "SELECT count(*)::int FROM pg_stat_activity WHERE usename = 'reznet_api' AND {which}"
    );
    let row = cluster.client().await.query_one(&sql, &[]).await;
    let count: i32 = row.expect("the query succeeds").get(0);
    usize::try_from(count).unwrap_or_default()
}
