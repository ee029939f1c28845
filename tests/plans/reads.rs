//! Compares how much each statement reads with how much it returns. The time of a list, a filter, a poll or a claim must depend
//! neither on the number of rows in a table nor on their distribution.

use reznet_edge::db::{Access, Effect, Statement};
use reznet_edge::queries::ALL;
use serde_json::Value;
use tokio_postgres::{Client, Transaction};

use super::parameters::{FilterValues, Rows, of_list};
use super::plan::{self, Layout};

/// The most buffers that a statement may read: a constant, plus a number for each row that it returns or that `offset` skips, plus a number
/// for each partition. A row of a large table may need two buffers, one for the row and one for its long text. An index lookup reads three
/// or four buffers.
const BUFFERS: f64 = 40.0;
const BUFFERS_A_ROW: f64 = 2.5;
/// The most rows that a statement may read: a constant, plus a number for each returned or skipped row, plus a number for each partition,
/// because the scan of a partition may read one row that isn't returned.
const ROWS: f64 = 10.0;
const ROWS_A_ROW: f64 = 1.5;
const ROWS_A_PARTITION: f64 = 1.0;
const BUFFERS_A_PARTITION: f64 = 4.0;

/// Inserts and changes rows so that a statement with a bad plan would read too many rows:
/// - The newest messages are from a user with the ID of the busiest agent.
/// - A channel's history was cleared recently.
/// - The tasks of one state are all older than those of another.
/// - A channel has workflows of one state only.
/// - All ready tasks of a workflow belong to one agent.
pub const UNEVEN: &str = "
    INSERT INTO messages (channel_id, author_id, author_type, author_name, content, created_at)
    SELECT (SELECT id FROM channels ORDER BY id LIMIT 1),
           (SELECT author_id FROM messages GROUP BY author_id ORDER BY count(*) DESC LIMIT 1), 'user', 'user', 'Message ' || n,
           (SELECT max(created_at) FROM messages) + n * interval '1 second'
    FROM generate_series(1, 100000) AS n;
    UPDATE channels SET context_cleared_at = '2025-05-04'
    WHERE id = (SELECT channel_id FROM messages GROUP BY channel_id ORDER BY count(*) DESC OFFSET 2 LIMIT 1);
    INSERT INTO tasks (description, assigned_to, status, created_at)
    SELECT 'Task ' || n, CASE WHEN n <= 25000 THEN (SELECT id FROM agents ORDER BY id LIMIT 1) END, CASE WHEN n <= 40000 THEN 'completed' ELSE 'pending' END, '2025-02-01'::timestamptz + n * interval '80 seconds'
    FROM generate_series(1, 100000) AS n;
    INSERT INTO workflows (description, channel_id, status, created_at, completed_at)
    SELECT 'Workflow ' || n, (SELECT id FROM channels ORDER BY id LIMIT 1), 'completed', at, at
    FROM generate_series(1, 30000) AS n, LATERAL (SELECT '2025-06-01'::timestamptz + n * interval '80 seconds') AS of (at);
    ALTER TABLE workflow_tasks DISABLE TRIGGER USER;
    INSERT INTO workflow_tasks (workflow_id, description, agent_id, order_index, status)
    SELECT (SELECT id FROM workflows WHERE status = 'executing' ORDER BY id LIMIT 1), 'Task ' || n,
           CASE WHEN n <= 25000 THEN (SELECT id FROM agents ORDER BY id LIMIT 1) END, n, 'ready'
    FROM generate_series(1, 50000) AS n;
    ALTER TABLE workflow_tasks ENABLE TRIGGER USER";

/// Inserts 10,000 agents of each of two types. In each type, nine of ten agents are inactive, and these are the older ones.
const MANY_AGENTS: &str = "
    INSERT INTO agents (name, agent_type, is_active, created_at)
    SELECT '@many-' || n, CASE WHEN n <= 10000 THEN 'analyst' ELSE 'qa' END, n % 10000 > 9000,
           '2024-01-01'::timestamptz + n * interval '1 minute'
    FROM generate_series(1, 20000) AS n;
    ANALYZE agents";

/// IDs for parameters. Some refer to rows with many related rows, some to rows with few, and some to no row.
struct Ids {
    agents: Vec<String>,
    channels: Vec<String>,
    workflows: Vec<String>,
    /// The times of the oldest and the newest message, in microseconds.
    times: [String; 2],
    filters: FilterValues,
}

impl Ids {
    async fn of(client: &Client) -> Self {
        let all = async |sql: &str| -> Vec<String> {
            let rows = client.query(sql, &[]).await;
            let rows = rows.unwrap_or_else(|error| panic!("{error:?}: {sql}"));
            rows.iter().map(|row| row.get(0)).collect()
        };
        let by_messages = |column: &str, table: &str| {
            format!(
                "WITH most AS (SELECT {column} AS id FROM messages GROUP BY 1 ORDER BY count(*) DESC LIMIT 5)
                SELECT id::text FROM most UNION ALL
                (SELECT id::text FROM {table} WHERE id NOT IN (SELECT id FROM most) ORDER BY id LIMIT 3)"
            )
        };
        let times = all("SELECT (extract(epoch FROM at) * 1000000)::bigint::text
            FROM (SELECT min(created_at), max(created_at) FROM messages) AS of (first, last), unnest(ARRAY[first, last]) AS at").await;
        Self {
            agents: all(&by_messages("author_id", "agents")).await,
            channels: all(&by_messages("channel_id", "channels")).await,
            workflows: all(
                "(SELECT id::text FROM workflows WHERE status = 'executing' ORDER BY id LIMIT 2)
                UNION ALL SELECT gen_random_uuid()::text",
            )
            .await,
            times: times.try_into().expect("there are messages"),
            filters: FilterValues::of(client).await,
        }
    }

    /// Returns the ids of parents and the values of filters that a list's statement takes, in every combination.
    fn filters(&self, statement: &str) -> Vec<Vec<String>> {
        let (list, combination) = of_list(statement).expect("the statement belongs to a list");
        let parents = list.of.parent.as_ref().map(|parent| match parent.table {
            "agents" => &self.agents[..],
            "channels" => &self.channels,
            _ => &self.workflows,
        });
        let filters = self.filters.of_combination(list, combination);
        parents
            .into_iter()
            .chain(filters)
            .fold(vec![vec![]], |begun, values| {
                let longer = |begun: &Vec<String>| -> Vec<_> {
                    let with = |value: &String| [&begun[..], std::slice::from_ref(value)].concat();
                    values.iter().map(with).collect()
                };
                begun.iter().flat_map(longer).collect()
            })
    }

    /// Returns the parameter sets for a statement, each with the number of rows that its offset skips.
    fn cases(&self, statement: &Statement, rows: &Rows) -> Vec<(Vec<String>, f64)> {
        let name = statement
            .name
            .strip_suffix("_tag")
            .unwrap_or(statement.name);
        if name.starts_with("workflow_task_claim") {
            let workflows = if name.ends_with("workflow") {
                &self.workflows[..]
            } else {
                &[]
            };
            let agents = self.agents.iter().map(|agent| vec![agent.clone()]);
            if workflows.is_empty() {
                return agents.map(|agent| (agent, 0.0)).collect();
            }
            let claim = |agent: Vec<String>| {
                workflows.iter().map(move |workflow| {
                    ([&agent[..], std::slice::from_ref(workflow)].concat(), 0.0)
                })
            };
            return agents.flat_map(claim).collect();
        }
        let sql = statement.sql;
        if !sql.contains("$4::bigint") {
            return vec![(rows.parameters(statement.name), 0.0)];
        }
        let [first, last] = &self.times;
        let begins = if sql.contains("ORDER BY order_index") {
            ["-9223372036854775808", "25000", "49990"]
        } else if sql.contains("DESC") {
            ["9223372036854775807", "1743465600000000", first]
        } else {
            ["-9223372036854775808", "1743465600000000", last]
        };
        let mut cases = Vec::new();
        for filters in self.filters(statement.name) {
            for key in begins {
                let page =
                    [key, "80000000-0000-0000-0000-000000000000", "50", "0"].map(str::to_owned);
                cases.push(([&page[..], &filters].concat(), 0.0));
            }
            let page = [
                begins[0],
                "80000000-0000-0000-0000-000000000000",
                "200",
                "500",
            ]
            .map(str::to_owned);
            cases.push(([&page[..], &filters].concat(), 500.0));
        }
        cases
    }
}

/// The numbers of buffers and rows that one execution of a statement read, and the number of rows that it returned.
#[derive(Debug)]
struct Read {
    buffers: f64,
    rows: f64,
    returned: f64,
    partitions: f64,
    /// The scan that read the most buffers, and the number of these buffers.
    widest: (String, f64),
}

impl Read {
    async fn of(
        client: &Client,
        layout: &Layout,
        statement: &Statement,
        parameters: &[String],
    ) -> Self {
        let values: Vec<_> = parameters
            .iter()
            .map(|value| format!("'{}'", value.replace('\'', "''")))
            .collect();
        let values = if values.is_empty() {
            String::new()
        } else {
            format!("({})", values.join(", "))
        };
        let sql = format!(
            "EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, COSTS OFF, FORMAT JSON) EXECUTE measured{values}"
        );
        let row = client.query_one(&sql, &[]).await;
        let row = row.unwrap_or_else(|error| panic!("{}: {error:?}: {sql}", statement.name));
        let plan = row.get::<_, Value>(0)[0]["Plan"].clone();
        let mut nodes = Vec::new();
        plan::collect(&plan, &mut nodes);
        let number = |node: &Value, member: &str| node[member].as_f64().unwrap_or_default();
        let buffers =
            |node: &Value| number(node, "Shared Hit Blocks") + number(node, "Shared Read Blocks");
        let mut read = Self {
            buffers: buffers(&plan),
            rows: 0.0,
            returned: 0.0,
            partitions: 0.0,
            widest: (String::new(), 0.0),
        };
        for node in nodes {
            let kind = node["Node Type"].as_str().unwrap_or_default();
            let (rows, loops) = (number(node, "Actual Rows"), number(node, "Actual Loops"));
            if kind == "Limit" {
                read.returned = read.returned.max(rows * loops);
            }
            if let Some(table) = node["Relation Name"].as_str()
                && kind.ends_with("Scan")
                && loops > 0.0
            {
                let removed = number(node, "Rows Removed by Filter")
                    + number(node, "Rows Removed by Index Recheck");
                read.rows += (rows + removed) * loops;
                if buffers(node) > read.widest.1 {
                    let index = node["Index Name"].as_str().unwrap_or_default();
                    read.widest = (format!("{kind} {table} {index}"), buffers(node));
                }
                if layout.is_part(table) {
                    read.partitions += 1.0;
                }
            }
        }
        read
    }

    fn is_bounded(&self, skipped: f64) -> bool {
        let rows = self.returned + skipped;
        self.buffers <= BUFFERS + BUFFERS_A_ROW * rows + BUFFERS_A_PARTITION * self.partitions
            && self.rows <= ROWS + ROWS_A_ROW * rows + ROWS_A_PARTITION * self.partitions
    }
}

/// Returns the lists, claims and index lookups that read too much, each with its parameters. All changes are rolled back. The
/// statements run with custom plans, as on Spin, and with generic plans, which sessions of our host may use from the sixth run.
pub async fn unbounded(
    transaction: &Transaction<'_>,
    rows: &Rows,
    layout: &Layout,
    statements: &[&Statement],
) -> Vec<String> {
    let ids = Ids::of(transaction.client()).await;
    let mut unbounded = Vec::new();
    for statement in statements {
        let sql = statement.sql;
        let by_index = statement.is_read() && !matches!(statement.access, Access::Scans(_));
        let is_list_or_claim =
            sql.contains("$4::bigint") || statement.name.starts_with("workflow_task_claim");
        // Skips `reference_check`, which may read all agents and declares the reason.
        if !(by_index || is_list_or_claim) || statement.name == "reference_check" {
            continue;
        }
        let run = async |sql: String| transaction.batch_execute(&sql).await.unwrap();
        run(format!("PREPARE measured AS {sql}")).await;
        for mode in ["force_custom_plan", "force_generic_plan"] {
            run(format!(
                "SET LOCAL plan_cache_mode = {mode}; SAVEPOINT before"
            ))
            .await;
            for (parameters, skipped) in ids.cases(statement, rows) {
                let mut read = Read::of(transaction.client(), layout, statement, &parameters).await;
                // If an index page is full, PostgreSQL first reads the table to find dead rows, and then splits the page. These reads
                // aren't part of the bound, so a write that exceeds the bound is measured a second time.
                if !statement.is_read() && !read.is_bounded(skipped) {
                    run("ROLLBACK TO before".to_owned()).await;
                    read = Read::of(transaction.client(), layout, statement, &parameters).await;
                }
                if !read.is_bounded(skipped) {
                    unbounded.push(format!(
                        "{} ({mode}) {parameters:?}: {read:?}",
                        statement.name
                    ));
                }
                run("ROLLBACK TO before".to_owned()).await;
            }
        }
        run("DEALLOCATE measured".to_owned()).await;
    }
    unbounded
}

/// Checks all statements of the registry. Also shows that the check can fail, with a missing index and with a statement that uses the
/// less selective of two bounds as its start.
pub async fn reads_are_bounded(client: &mut Client, rows: &Rows, layout: &Layout) {
    let transaction = client.transaction().await.unwrap();
    transaction.batch_execute(MANY_AGENTS).await.unwrap();
    let found = unbounded(&transaction, rows, layout, &ALL).await;
    assert!(found.is_empty(), "{found:#?}");

    let weaker = Statement {
        name: "message_list",
        sql: "SELECT id FROM messages WHERE created_at >= to_timestamp(greatest($1::bigint, 0) / 1000000.0)
            AND (created_at, id) > ('-infinity', '00000000-0000-0000-0000-000000000000') AND $2::uuid IS NOT NULL
            ORDER BY created_at, id LIMIT $3::int OFFSET $4::bigint",
        effect: Effect::Reads,
        access: Access::Indexes(&["idx_messages_created_at"]),
        max_rows: 200,
    };
    let found = unbounded(&transaction, rows, layout, &[&weaker]).await;
    assert!(!found.is_empty());

    let list = ALL
        .iter()
        .find(|statement| statement.name == "workflow_list_channel_status");
    transaction
        .batch_execute("DROP INDEX workflows_channel_status_idx")
        .await
        .unwrap();
    let found = unbounded(&transaction, rows, layout, &[list.unwrap()]).await;
    assert!(!found.is_empty());
    transaction.rollback().await.unwrap();
    // Removes the free space that the rolled back agents left in the table and its indexes, because later checks count buffers.
    client.batch_execute("VACUUM FULL agents").await.unwrap();
    // Only VACUUM without FULL marks pages as all-visible. Otherwise an index-only scan costs as much as a scan of another index.
    client
        .batch_execute("VACUUM (ANALYZE) agents")
        .await
        .unwrap();
}
