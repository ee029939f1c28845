//! A plan as PostgreSQL explains it, and what a statement promises of it.

use std::collections::BTreeSet;

use reznet_edge::db::{Access, Statement};
use serde_json::Value;
use tokio_postgres::Client;
use tokio_postgres::types::{Format, IsNull, ToSql, Type, private::BytesMut, to_sql_checked};

/// Tables that grow with use: scanning one takes longer with every day.
const LARGE: [&str; 3] = ["messages", "workflows", "workflow_tasks"];

/// The most rows that may be sorted: the largest page there is.
const MOST_SORTED_ROWS: f64 = 1000.0;

/// A parameter in PostgreSQL's own text form, whatever its type.
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

/// The plan for these very parameters, as for a statement that's prepared and executed once.
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

/// What a statement promises and its plan doesn't keep.
pub fn findings(statement: &Statement, plan: &Value) -> Vec<String> {
    let mut nodes = Vec::new();
    collect(plan, &mut nodes);
    let text = |node: &Value, member: &str| node[member].as_str().unwrap_or_default().to_owned();
    let used: BTreeSet<String> = nodes.iter().map(|node| text(node, "Index Name")).collect();
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
        // It says why it scans; one that only inserts finds nothing.
        Access::Scans(_) | Access::Inserts(_) => return findings,
    }
    if let Access::IndexesAndOneOf(_, one_of) = statement.access
        && !one_of.iter().any(|index| used.contains(*index))
    {
        findings.push(format!("it uses none of {}", one_of.join(", ")));
    }
    for node in nodes {
        let (kind, table) = (text(node, "Node Type"), text(node, "Relation Name"));
        if kind == "Seq Scan" && LARGE.contains(&table.as_str()) {
            findings.push(format!("it scans {table}"));
        }
        let rows = node["Plan Rows"].as_f64().unwrap_or_default();
        if kind == "Sort" && rows > MOST_SORTED_ROWS {
            findings.push(format!("it sorts {rows} rows"));
        }
    }
    findings
}

fn collect<'a>(plan: &'a Value, nodes: &mut Vec<&'a Value>) {
    nodes.push(plan);
    for child in plan["Plans"].as_array().into_iter().flatten() {
        collect(child, nodes);
    }
}
