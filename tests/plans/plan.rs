//! Gets a statement's plan from EXPLAIN, and checks it against the statement's declaration.

use std::collections::{BTreeSet, HashMap};

use reznet_edge::db::{Access, Statement};
use serde_json::Value;
use tokio_postgres::Client;
use tokio_postgres::types::{Format, IsNull, ToSql, Type, private::BytesMut, to_sql_checked};

/// Tables that grow with use. A sequential scan of such a table takes longer every day, so no statement may scan one.
const LARGE: [&str; 3] = ["messages", "workflows", "workflow_tasks"];

/// A statement may scan a partition of messages that has fewer rows than this, because a scan of so few rows is as fast as an index.
const FEW_ROWS: f32 = 1000.0;

/// The most rows that a plan may sort. It equals the largest page size of a list, because a statement may sort only the rows it returns.
const MOST_SORTED_ROWS: f64 = 1000.0;

/// A parameter of any type, in PostgreSQL's text format.
#[derive(Debug)]
struct Text<'a>(&'a str);

impl ToSql for Text<'_> {
    fn to_sql(
        &self,
        _: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        out.extend_from_slice(self.0.as_bytes());
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    fn encode_format(&self, _: &Type) -> Format {
        Format::Text
    }

    to_sql_checked!();
}

/// Maps each partition and its indexes to their partitioned parent and their number of rows. A plan names partitions and their indexes,
/// but a statement's declaration names the parents.
pub struct Layout(HashMap<String, (String, f32)>);

impl Layout {
    /// Reads the layout from the catalogue.
    pub async fn of(client: &Client) -> Self {
        let sql =
            "SELECT part.relname::text, whole.relname::text, part.reltuples FROM pg_class AS part
            JOIN pg_class AS whole ON whole.oid = coalesce(pg_partition_root(part.oid), part.oid)
            WHERE part.relnamespace = 'public'::regnamespace";
        let rows = client
            .query(sql, &[])
            .await
            .expect("the catalogue can be read");
        let rows = rows
            .iter()
            .map(|row| (row.get(0), (row.get(1), row.get(2))));
        Self(rows.collect())
    }

    /// Returns the partitioned table or index that `name` belongs to. Returns `name` itself if it isn't a partition.
    fn whole<'a>(&'a self, name: &'a str) -> &'a str {
        self.0.get(name).map_or(name, |(whole, _)| whole)
    }

    /// Returns whether a table is a partition.
    pub fn is_part(&self, table: &str) -> bool {
        self.whole(table) != table
    }

    fn may_be_scanned(&self, table: &str) -> bool {
        let is_small = |(whole, rows): &(String, f32)| whole != table && *rows < FEW_ROWS;
        !LARGE.contains(&self.whole(table)) || self.0.get(table).is_some_and(is_small)
    }
}

/// Returns the custom plan for these parameters. PostgreSQL also uses a custom plan for the first five executions of a prepared statement.
pub async fn explain(client: &Client, sql: &str, parameters: &[String]) -> Value {
    let texts: Vec<_> = parameters.iter().map(|parameter| Text(parameter)).collect();
    let parameters: Vec<_> = texts
        .iter()
        .map(|text| text as &(dyn ToSql + Sync))
        .collect();
    let row = client
        .query_one(&format!("EXPLAIN (FORMAT JSON) {sql}"), &parameters)
        .await
        .unwrap_or_else(|error| panic!("{error:?}: {sql}"));
    row.get::<_, Value>(0)[0]["Plan"].clone()
}

/// Returns the contradictions between a statement's declaration and its plan.
pub fn findings(statement: &Statement, plan: &Value, layout: &Layout) -> Vec<String> {
    let mut nodes = Vec::new();
    collect(plan, &mut nodes);
    let text = |node: &Value, member: &str| node[member].as_str().unwrap_or_default().to_owned();
    let used = nodes.iter().map(|node| text(node, "Index Name"));
    let used: BTreeSet<String> = used.map(|index| layout.whole(&index).to_owned()).collect();
    let mut findings = Vec::new();
    let writes = nodes
        .iter()
        .any(|node| text(node, "Node Type") == "ModifyTable");
    if writes && statement.is_read() {
        findings.push("it's taken for a read, and writes".to_owned());
    }
    match statement.access {
        Access::Indexes([]) => {
            findings.push("it declares neither an index nor why it scans".to_owned());
        }
        Access::Indexes(indexes) | Access::IndexesAndOneOf(indexes, _) => {
            let unused = indexes.iter().filter(|index| !used.contains(**index));
            findings.extend(unused.map(|index| format!("it doesn't use {index}")));
        }
        // No further check: a statement with `Scans` declares why it may scan, and a statement with `Inserts` looks up no rows.
        Access::Scans(_) | Access::Inserts(_) => return findings,
    }
    if let Access::IndexesAndOneOf(_, one_of) = statement.access
        && !one_of.iter().any(|index| used.contains(*index))
    {
        findings.push(format!("it uses none of {}", one_of.join(", ")));
    }
    for node in nodes {
        let (kind, table) = (text(node, "Node Type"), text(node, "Relation Name"));
        if kind == "Seq Scan" && !layout.may_be_scanned(&table) {
            findings.push(format!("it scans {table}"));
        }
        let rows = node["Plan Rows"].as_f64().unwrap_or_default();
        if kind == "Sort" && rows > MOST_SORTED_ROWS {
            findings.push(format!("it sorts {rows} rows"));
        }
    }
    findings
}

pub fn collect<'a>(plan: &'a Value, nodes: &mut Vec<&'a Value>) {
    nodes.push(plan);
    for child in plan["Plans"].as_array().into_iter().flatten() {
        collect(child, nodes);
    }
}
