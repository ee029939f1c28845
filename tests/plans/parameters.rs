//! Parameters with which every statement is explained. They refer to existing rows with an average number of related rows, and to times
//! in the middle of the data.

use std::collections::HashMap;

use reznet_edge::queries::{Combination, LISTS, List};
use reznet_edge::schema::FieldType;
use serde_json::json;
use tokio_postgres::Client;

/// Returns the list that a statement reads, and the statement's combination of filters. Returns `None` if the statement reads no list.
pub fn of_list(statement: &str) -> Option<(&'static List, &'static Combination)> {
    // The statement `NAME_tag` computes the ETag of a page that the statement `NAME` reads. Both take the same parameters.
    let name = statement.strip_suffix("_tag").unwrap_or(statement);
    LISTS.iter().find_map(|list| {
        let mut combinations = list.combinations.iter();
        let combination = combinations.find(|combination| combination.page.name == name);
        combination.map(|combination| (&***list, combination))
    })
}

/// The values of each filter that takes a parameter, by table and column.
pub struct FilterValues(HashMap<(&'static str, &'static str), Vec<String>>);

impl FilterValues {
    /// Reads the values from the database. For a filter by an enumeration, these are all its words. For any other filter, these are the
    /// column's five most frequent values, its three rarest values, and a value that no row has.
    pub async fn of(client: &Client) -> Self {
        let mut all = HashMap::new();
        for list in LISTS {
            for filter in list.of.filters.filters {
                let (table, column) = (list.of.table, filter.column);
                let values = match filter.parameter.field_type {
                    FieldType::Boolean => continue,
                    FieldType::OneOf(words) => words.iter().map(ToString::to_string).collect(),
                    field_type => {
                        let sql = format!(
                            "SELECT value FROM (
                                SELECT {column}::text AS value, row_number() OVER busiest AS rank, count(*) OVER () AS n
                                FROM {table} WHERE {column} IS NOT NULL GROUP BY {column}
                                WINDOW busiest AS (ORDER BY count(*) DESC, {column})
                            ) AS counted WHERE rank <= 5 OR rank > n - 3 ORDER BY rank"
                        );
                        let rows = client.query(&sql, &[]).await.expect(&sql);
                        let mut values: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
                        assert!(
                            !values.is_empty(),
                            "{table}.{column} has no values: insert some into the seeded database"
                        );
                        values.push(match field_type {
                            FieldType::Uuid => "ffffffff-ffff-ffff-ffff-ffffffffffff".to_owned(),
                            _ => "absent".to_owned(),
                        });
                        values
                    }
                };
                all.insert((table, column), values);
            }
        }
        Self(all)
    }

    /// Returns the values of each filter in this combination.
    pub fn of_combination(&self, list: &List, combination: &Combination) -> Vec<&[String]> {
        let filters = combination.filters.iter();
        filters
            .filter_map(|filter| {
                self.0
                    .get(&(list.of.table, filter.column))
                    .map(Vec::as_slice)
            })
            .collect()
    }
}

/// Ids and names of rows in the seeded database, which the parameters refer to.
pub struct Rows {
    agent: String,
    agent_name: String,
    channel: String,
    message: String,
    workflow: String,
    workflow_task: String,
    filters: FilterValues,
}

impl Rows {
    /// Looks up the rows.
    pub async fn of(client: &Client) -> Self {
        let one = async |sql: &str| -> String {
            client
                .query_one(sql, &[])
                .await
                .unwrap_or_else(|error| panic!("{error}: {sql}"))
                .get(0)
        };
        let workflow =
            one("SELECT id::text FROM workflows WHERE status = 'executing' LIMIT 1").await;
        Self {
            agent: one("SELECT author_id::text FROM messages GROUP BY author_id ORDER BY count(*) DESC OFFSET 50 LIMIT 1")
                .await,
            agent_name: one("SELECT name FROM agents ORDER BY id LIMIT 1").await,
            channel: one("SELECT channel_id::text FROM messages GROUP BY channel_id ORDER BY count(*) DESC OFFSET 50 LIMIT 1")
                .await,
            message: one("SELECT id::text FROM messages ORDER BY created_at OFFSET 1000 LIMIT 1").await,
            workflow_task: one(&format!("SELECT id::text FROM workflow_tasks WHERE workflow_id = '{workflow}' LIMIT 1"))
                .await,
            workflow,
            filters: FilterValues::of(client).await,
        }
    }

    /// Returns the parameters with which a statement is explained.
    #[expect(clippy::too_many_lines, reason = "a table: a line for each statement")]
    pub fn parameters(&self, statement: &str) -> Vec<String> {
        let id = "ffffffff-ffff-ffff-ffff-ffffffffffff";
        let tag = "0123456789abcdef";
        if let Some((list, combination)) = of_list(statement) {
            let start = match list.of.table {
                "agents" | "channels" | "workflow_tasks" => {
                    ["-1", "00000000-0000-0000-0000-000000000000"]
                }
                // Starts in the first month, because this partition has messages. Later partitions may be empty, and empty partitions may be
                // scanned.
                "messages" if list.of.parent.is_none() => ["1743465600000000", id],
                // 2025-06-01, in microseconds, is in the middle of the messages and workflows.
                _ => ["1748736000000000", id],
            };
            let parent = list.of.parent.as_ref().map(|parent| match parent.table {
                "agents" => &self.agent,
                "channels" => &self.channel,
                _ => &self.workflow,
            });
            let values = self.filters.of_combination(list, combination);
            let values = values.iter().map(|values| &values[values.len() / 2]);
            let page = [start[0], start[1], "50", "0"].map(str::to_owned);
            return page
                .into_iter()
                .chain(parent.cloned())
                .chain(values.cloned())
                .collect();
        }
        let list = |values: &[&str]| values.iter().map(ToString::to_string).collect();
        match statement {
            "agent_create" => list(&[&json!({"name": "new", "agent_type": "qa"}).to_string()]),
            "agent_get" | "agent_status" | "agent_dm_channel" | "workflow_task_claim" => {
                list(&[&self.agent])
            }
            "agent_get_by_name" => list(&[&self.agent_name]),
            "agent_update" => list(&[&self.agent, "{\"is_busy\": true}", tag]),
            "agent_set_active" => list(&[&self.agent, "true", tag]),
            "channel_create" => list(&["{\"name\": \"new\"}"]),
            "channel_get" => list(&[&self.channel]),
            "channel_archive" | "channel_clear" => list(&[&self.channel, tag]),
            "channel_update" => list(&[&self.channel, "{\"topic\": null}", tag]),
            "fleet_flush" => {
                let sample = json!([{"minute": 1, "kind": "route", "name": "GET /", "count": 1, "errors": 0,
                    "sum_us": 1, "max_us": 1, "within_target": 1, "query_count": 0, "bins": [1], "bin_counts": [1]}]);
                list(&[&sample.to_string(), "1", "0", "1", "100000"])
            }
            "slow_query_keep" => list(&["agent_get", "600000", "GET /", "r", "0", "[]"]),
            "write_once" => list(&["key", "stats", "SELECT 1", "{}"]),
            "readiness" => list(&["{0001_schema}", "{idx_agents_name}"]),
            "message_create" => {
                let body = json!({"content": "x", "author_type": "agent", "author_id": self.agent,
                    "thread_id": self.message});
                list(&[&self.channel, &body.to_string()])
            }
            "message_get" => list(&[&self.message]),
            "performance_database"
            | "performance_connections"
            | "performance_index_usage"
            | "performance_indexes"
            | "performance_settings" => {
                list(&["{\"pool_size\": 64, \"named\": [], \"exempt_keys\": []}"])
            }
            "performance_cache" => list(&["900", "15m", "0"]),
            "performance_fleet" | "performance_measured" => {
                list(&["900", "60", "[]", "95", "100000"])
            }
            "performance_index_scans" | "performance_profiler" | "performance_slow_queries" => {
                list(&["900"])
            }
            "performance_metrics"
            | "performance_metrics_connections"
            | "performance_metrics_histograms" => {
                list(&["{\"above\": [1, 2, 3], \"application_name\": \"reznet-edge\"}"])
            }
            "reference_check" => {
                let rows = [
                    ("agent", &self.agent),
                    ("channel", &self.channel),
                    ("message", &self.message),
                    ("workflow", &self.workflow),
                    ("workflow_task", &self.workflow_task),
                ];
                let rows = rows.map(|(to, id)| json!({"pointer": "/x", "to": to, "id": id}));
                list(&[&json!(rows).to_string(), &self.channel])
            }
            "fleet_index_scans" => list(&["{idx_agents_name}"]),
            "fleet_compact"
            | "fleet_rollup"
            | "performance_cache_hits"
            | "performance_index_builds"
            | "performance_metrics_samples"
            | "performance_table_sizes"
            | "performance_tables"
            | "performance_top_statements"
            | "replica_state"
            | "stats"
            | "write_position" => list(&[]),
            "task_create" => {
                list(&[&json!({"description": "x", "assigned_to": self.agent}).to_string()])
            }
            "task_get" => list(&[id]),
            "task_update" => list(&[id, &json!({"assigned_to": self.agent}).to_string(), tag]),
            "workflow_task_create" => {
                let body = json!({"description": "x", "agent_id": self.agent, "depends_on": [self.workflow_task]});
                list(&[&self.workflow, &body.to_string()])
            }
            "workflow_task_get" => list(&[&self.workflow, &self.workflow_task]),
            "workflow_task_update" => list(&[
                &self.workflow,
                &self.workflow_task,
                "{\"status\": \"completed\"}",
                tag,
            ]),
            "workflow_task_claim_workflow" => list(&[&self.agent, &self.workflow]),
            "workflow_create" => {
                let tasks = json!([{"description": "x", "agent_id": self.agent}]);
                let body = json!({"description": "x", "channel_id": self.channel, "tasks": tasks});
                list(&[&body.to_string()])
            }
            "workflow_get" => list(&[&self.workflow]),
            "workflow_delete" | "workflow_start" | "workflow_cancel" => {
                list(&[&self.workflow, tag])
            }
            _ => panic!("{statement} has no parameters here: add some that are typical"),
        }
    }
}
