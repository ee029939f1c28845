//! Checks the responses that the suite `api` recorded. The suite must have called every operation of openapi.json and received every
//! documented status. This suite must run after it.

use std::collections::BTreeSet;

use support::contract::{coverage_file, operations};

/// Statuses that the suite `api` need not receive, because they occur only with a broken client or installation. The suite `faults` tests
/// them.
const BROKEN: [u16; 4] = [408, 500, 503, 504];

#[test]
fn api_suite_covers_every_documented_status_of_each_operation() {
    let file = coverage_file("api");
    let text = std::fs::read_to_string(&file).unwrap_or_else(|error| {
        panic!("{}: {error}: run the whole API suite first", file.display())
    });
    let seen: BTreeSet<&str> = text.lines().collect();
    let mut missing = Vec::new();
    for operation in operations() {
        for status in operation.statuses() {
            let line = format!("{} {status}", operation.id);
            if !BROKEN.contains(&status) && !seen.contains(line.as_str()) {
                missing.push(line);
            }
        }
    }
    assert!(
        missing.is_empty(),
        "openapi.json documents these statuses, but no test of the API suite received them: {missing:#?}"
    );
}
