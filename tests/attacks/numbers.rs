//! Tests of integers in requests. A fractional number or a number that is too large is refused, even if it has so many digits that a
//! floating-point parser would round it to a valid integer.

use http::StatusCode;
use support::contract::operations;
use support::{Database, Edge};

use crate::{NOBODY, bodies, send, with_member};

/// Numbers that aren't valid integers. A floating-point parser rounds the first three to 100, 0 and 9007199254740992.
const NO_WHOLE_NUMBERS: [&str; 8] = [
    "99.9999999999999999999",
    "0.00000000000000000000000000000001",
    "9007199254740992.5",
    "1e-1",
    "-0.5",
    "1e400",
    "18446744073709551616",
    "99999999999999999999999999999999999999",
];

#[tokio::test]
async fn whole_numbers_are_compared_as_decimals() {
    let database = Database::migrated().await;
    let edge = Edge::start(&database).await;
    let mut count = 0;
    for (operation, members) in bodies() {
        let path = operation.path_with(NOBODY);
        let example = operation.example().expect("an example");
        let integers = members
            .iter()
            .filter(|(_, schema)| schema.to_string().contains("\"integer\""));
        for (name, _) in integers {
            for number in NO_WHOLE_NUMBERS {
                let body = with_member(&example, name, number);
                let answer = send(&edge, &operation.method, &path, body).await;
                let what = format!("{} {name}: {number}: {answer:?}", operation.id);
                assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{what}");
                assert_eq!(answer.query_count(), 0, "{what}");
                assert!(answer.json()["errors"].to_string().contains(name), "{what}");
                count += 1;
            }
        }
    }
    for operation in operations() {
        let path = operation.path_with(NOBODY);
        for parameter in operation.described["parameters"]
            .as_array()
            .into_iter()
            .flatten()
        {
            if parameter["in"] != "query" || parameter["schema"]["type"] != "integer" {
                continue;
            }
            let name = parameter["name"].as_str().expect("a name");
            for number in NO_WHOLE_NUMBERS {
                let answer = edge.get(&format!("{path}?{name}={number}")).await;
                assert_eq!(
                    answer.status,
                    StatusCode::UNPROCESSABLE_ENTITY,
                    "{answer:?}"
                );
                assert_eq!(answer.json()["errors"][0]["parameter"], name);
                count += 1;
            }
        }
    }
    assert!(count > 100, "only {count} numbers were sent");
    let body = r#"{"description": "x", "priority": 99.9999999999999999999}"#;
    let answer = send(&edge, &http::Method::POST, "/api/tasks", body).await;
    assert_eq!(answer.json()["errors"][0]["pointer"], "/priority");
}
