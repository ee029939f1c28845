//! Builds a request path for each list of the API and each combination of its filters.

use std::collections::BTreeMap;

use reznet_edge::queries::LISTS;
use reznet_edge::schema::{FieldType, Filter};

use crate::contract::operations;

/// Returns a path for every combination of filters of every list. The keys are the names of the statements that read the pages.
/// `parent` gets a table's name and returns the id of a parent row in it. `value` gets a table and a filter, and returns the filter's
/// value. It isn't called for boolean filters, which are true in the combinations that include them, and false in the others.
#[must_use]
pub fn list_paths(
    parent: impl Fn(&str) -> String,
    value: impl Fn(&str, &Filter) -> String,
) -> BTreeMap<&'static str, String> {
    let operations = operations();
    let mut paths = BTreeMap::new();
    for list in LISTS {
        let mut found = operations.iter().filter(|one| one.id == list.of.name);
        let operation = found.next().expect("every list is an operation");
        let id = list.of.parent.as_ref().map(|of| parent(of.table));
        let path = operation.path_with(&id.unwrap_or_default());
        for combination in &list.combinations {
            let is_given = |filter: &Filter| {
                let mut given = combination.filters.iter();
                given.any(|given| given.label == filter.label)
            };
            let parameters = list.of.filters.filters.iter().filter_map(|filter| {
                let value = match filter.parameter.field_type {
                    FieldType::Boolean => is_given(filter).to_string(),
                    _ if is_given(filter) => value(list.of.table, filter),
                    _ => return None,
                };
                Some(format!("{}={value}", filter.parameter.name))
            });
            let query = parameters.collect::<Vec<_>>().join("&");
            paths.insert(combination.page.name, format!("{path}?{query}"));
        }
    }
    assert!(paths.len() > 10, "only {} paths", paths.len());
    paths
}
