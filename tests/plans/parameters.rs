//! Parameters for every statement: existing rows, neither the busiest nor the quietest, from the middle of the data.

use serde_json::json;
use tokio_postgres::Client;

/// Rows of the seeded database.
pub struct Rows {
    agent: String,
    agent_name: String,
    channel: String,
    message: String,
    workflow: String,
    workflow_task: String,
}

impl Rows {
    /// Looks the rows up.
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
        }
    }

    /// Returns the parameters with which a statement is explained.
    #[expect(clippy::too_many_lines, reason = "a table: a line for each statement")]
    pub fn parameters(&self, statement: &str) -> Vec<String> {
        let id = "ffffffff-ffff-ffff-ffff-ffffffffffff";
        let tag = "0123456789abcdef";
        // In the middle of the messages and workflows: 2025-06-01, in microseconds.
        let page = |filters: &[&str]| {
            let page = ["1748736000000000", id, "50", "0"];
            page.iter()
                .chain(filters)
                .map(ToString::to_string)
                .collect()
        };
        let first_page = |filters: &[&str]| {
            let page = ["-1", "00000000-0000-0000-0000-000000000000", "50", "0"];
            page.iter()
                .chain(filters)
                .map(ToString::to_string)
                .collect()
        };
        let list = |values: &[&str]| values.iter().map(ToString::to_string).collect();
        // The query for a page's ETag takes the page's parameters.
        match statement.strip_suffix("_tag").unwrap_or(statement) {
            "agent_list" | "agent_list_active" | "channel_list" => first_page(&[]),
            "agent_list_type" | "agent_list_type_active" => first_page(&["analyst"]),
            "agent_create" => list(&[&json!({"name": "new", "agent_type": "qa"}).to_string()]),
            "agent_get" | "agent_status" | "agent_dm_channel" | "workflow_task_claim" => {
                list(&[&self.agent])
            }
            "agent_get_by_name" => list(&[&self.agent_name]),
            "agent_update" => list(&[&self.agent, "{\"is_busy\": true}", tag]),
            "agent_set_active" => list(&[&self.agent, "true", tag]),
            "agent_message_list" => page(&[&self.agent]),
            "channel_create" => list(&["{\"name\": \"new\"}"]),
            "channel_get" => list(&[&self.channel]),
            "channel_archive" | "channel_clear" => list(&[&self.channel, tag]),
            "channel_update" => list(&[&self.channel, "{\"topic\": null}", tag]),
            "channel_message_list" | "workflow_list_channel" => page(&[&self.channel]),
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
            // Starts at a time at which there are messages, because later partitions are empty and may be scanned.
            "message_list" => list(&["1743465600000000", id, "50", "0"]),
            "task_list" | "workflow_list" => page(&[]),
            "task_list_status" => page(&["pending"]),
            "task_create" => {
                list(&[&json!({"description": "x", "assigned_to": self.agent}).to_string()])
            }
            "task_get" => list(&[id]),
            "task_update" => list(&[id, &json!({"assigned_to": self.agent}).to_string(), tag]),
            "workflow_task_list" => first_page(&[&self.workflow]),
            "workflow_task_list_status" => first_page(&[&self.workflow, "pending"]),
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
            "workflow_list_status" => page(&["failed"]),
            "workflow_list_channel_status" => page(&[&self.channel, "completed"]),
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
