//! Random faults. One task causes faults of the network, one after the other. At the same time, another task causes faults of the
//! PostgreSQL server. Each fault is undone after a few seconds.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use support::{Cluster, Fault, Proxy};
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::sleep;
use tokio_postgres::Client;

type Counts = Arc<Mutex<BTreeMap<String, usize>>>;

/// The running faults.
pub struct Faults {
    tasks: [JoinHandle<()>; 2],
    counts: Counts,
}

impl Faults {
    /// Starts two tasks that cause faults until the time `until`.
    pub fn start(proxy: Arc<Proxy>, cluster: Arc<Cluster>, seed: u64, until: Instant) -> Self {
        let counts = Counts::default();
        // The clients use `seed` and the numbers above it as seeds. The faults use lower numbers, so no client has the same random numbers.
        let dice = |n: u64| StdRng::seed_from_u64(seed.wrapping_sub(n));
        let network = tokio::spawn(network(proxy, dice(1), until, counts.clone()));
        let server = tokio::spawn(server(cluster, dice(2), until, counts.clone()));
        Self {
            tasks: [network, server],
            counts,
        }
    }

    /// Waits until the last fault is undone, and returns the number of faults of each type.
    pub async fn end(self) -> String {
        for task in self.tasks {
            task.await.expect("faults go as planned");
        }
        let counts = self.counts.lock().expect("all faults have ended");
        let texts = counts.iter().map(|(name, count)| format!("{name} {count}"));
        texts.collect::<Vec<_>>().join(", ")
    }
}

fn count(counts: &Counts, name: &str) {
    *counts
        .lock()
        .expect("no task panics while it has the lock")
        .entry(name.to_owned())
        .or_default() += 1;
}

fn milliseconds(dice: &mut StdRng, from: u64, to: u64) -> Duration {
    Duration::from_millis(dice.random_range(from..to))
}

async fn network(proxy: Arc<Proxy>, mut dice: StdRng, until: Instant, counts: Counts) {
    while Instant::now() < until {
        sleep(milliseconds(&mut dice, 200, 4_000)).await;
        let fault = match dice.random_range(0..6) {
            0 => Fault::Refuse,
            1 => Fault::Delay(milliseconds(&mut dice, 5, 300)),
            2 => Fault::Stall,
            3 => Fault::Drop,
            4 => Fault::Cut,
            _ => Fault::CutAfter(dice.random_range(1..20_000)),
        };
        let name = format!("{fault:?}");
        count(&counts, name.split('(').next().unwrap_or_default());
        proxy.set(fault);
        sleep(milliseconds(&mut dice, 50, 4_000)).await;
        proxy.set(Fault::None);
    }
}

async fn server(cluster: Arc<Cluster>, mut dice: StdRng, until: Instant, counts: Counts) {
    while Instant::now() < until {
        sleep(milliseconds(&mut dice, 500, 8_000)).await;
        let for_so_long = milliseconds(&mut dice, 100, 5_000);
        let fault = dice.random_range(0..7);
        let client = superuser(&cluster).await;
        let name = match fault {
            0 => sessions_ended(&client).await,
            1 => session_killed(&client).await,
            2 => {
                down(cluster.clone(), Cluster::stop, for_so_long).await;
                "stopped"
            }
            3 => {
                down(cluster.clone(), Cluster::crash, for_so_long).await;
                "crashed"
            }
            4 => read_only(&client, for_so_long).await,
            5 => no_connections(&client, for_so_long).await,
            _ => locked(&client, for_so_long).await,
        };
        count(&counts, name);
        until_it_answers(&cluster).await;
    }
}

const OURS: &str = "pg_stat_activity WHERE usename = 'reznet_api'";

async fn run(client: &Client, sql: &str) {
    client
        .batch_execute(sql)
        .await
        .unwrap_or_else(|error| panic!("{sql}: {error}"));
}

async fn sessions_ended(client: &Client) -> &'static str {
    run(
        client,
        &format!("SELECT pg_terminate_backend(pid) FROM {OURS}"),
    )
    .await;
    "sessions ended"
}

/// Kills the server process of one of the component's sessions. PostgreSQL then ends all other sessions, and runs crash recovery.
async fn session_killed(client: &Client) -> &'static str {
    let row = client
        .query_opt(&format!("SELECT pid FROM {OURS} LIMIT 1"), &[])
        .await;
    if let Ok(Some(row)) = row {
        let pid: i32 = row.get(0);
        let killed = Command::new("kill")
            .args(["-KILL", &pid.to_string()])
            .status();
        killed.expect("kill runs");
    }
    "session killed"
}

async fn down(cluster: Arc<Cluster>, how: fn(&Cluster), for_so_long: Duration) {
    let down = spawn_blocking(move || {
        how(&cluster);
        std::thread::sleep(for_so_long);
        cluster.resume();
    });
    down.await.expect("the cluster stops and starts");
}

/// Makes all sessions read-only for a while, like those on the old primary after a failover.
async fn read_only(client: &Client, for_so_long: Duration) -> &'static str {
    run(
        client,
        "ALTER SYSTEM SET default_transaction_read_only = on",
    )
    .await;
    run(client, "SELECT pg_reload_conf()").await;
    sleep(for_so_long).await;
    run(client, "SET default_transaction_read_only = off").await;
    run(client, "ALTER SYSTEM RESET default_transaction_read_only").await;
    run(client, "SELECT pg_reload_conf()").await;
    "read-only"
}

async fn no_connections(client: &Client, for_so_long: Duration) -> &'static str {
    run(client, "ALTER ROLE reznet_api CONNECTION LIMIT 2").await;
    run(
        client,
        &format!("SELECT pg_terminate_backend(pid) FROM {OURS}"),
    )
    .await;
    sleep(for_so_long).await;
    run(client, "ALTER ROLE reznet_api CONNECTION LIMIT -1").await;
    "out of connections"
}

/// Locks the table messages, sometimes for longer than the statement timeout.
async fn locked(client: &Client, for_so_long: Duration) -> &'static str {
    // Waits for the lock for one second at most. If another session has the lock for longer, this fault is skipped.
    run(client, "SET lock_timeout = 1000").await;
    if client
        .batch_execute("BEGIN; LOCK TABLE messages")
        .await
        .is_ok()
    {
        sleep(for_so_long).await;
    }
    run(client, "ROLLBACK").await;
    "locked"
}

/// Opens a session as the superuser. Retries for a minute, because the server may be in crash recovery.
async fn superuser(cluster: &Cluster) -> Client {
    let patience = Instant::now() + Duration::from_mins(1);
    loop {
        match cluster.try_superuser().await {
            Ok(client) => return client,
            Err(error) => assert!(Instant::now() < patience, "{error}"),
        }
        sleep(Duration::from_millis(100)).await;
    }
}

/// Waits until the server has recovered from a crash.
async fn until_it_answers(cluster: &Cluster) {
    let patience = Instant::now() + Duration::from_mins(1);
    while cluster.try_client().await.is_err() {
        assert!(Instant::now() < patience, "PostgreSQL doesn't come back");
        sleep(Duration::from_millis(100)).await;
    }
}
