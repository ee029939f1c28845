//! reznet-edge: RezNet AI's backend API as one WebAssembly component for Spin, with a database profiler built in.
//!
//! This file has the list of modules and the component's entry point. Nothing else belongs here.
//! Allowed dependencies: `lib → http` · `http → queries, schema, profile, db, config` · `queries → schema, db, config, profile` (batches to store) ·
//! `db → profile, config, breaker` · `config → profile` (thresholds) · `profile → breaker` · `schema` and `breaker` → none. A test checks this list.
//!
//! Everything but the entry point compiles natively too, for unit tests and the plan suite.

// A panic traps the WebAssembly instance, which aborts all of the instance's requests. So code outside of tests must not panic.
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::unreachable,
        clippy::todo,
        clippy::unimplemented,
        clippy::indexing_slicing,
        clippy::string_slice
    )
)]

pub mod breaker;
pub mod config;
pub mod db;
#[cfg(test)]
mod documents;
pub mod http;
pub mod profile;
pub mod queries;
pub mod schema;

/// The component's only entry point, which receives the requests of all routes.
// Compiled for wasm only, because the names that the macro exports aren't valid in a native library.
#[cfg(target_family = "wasm")]
#[spin_sdk::http_service]
async fn handle(
    request: spin_sdk::http::Request,
) -> Result<::http::Response<axum::body::Body>, spin_sdk::http::Error> {
    Ok(http::handle(request.map(axum::body::Body::new)).await)
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    /// The modules of this crate, each with the modules that it may use.
    const MAY_USE: [(&str, &[&str]); 8] = [
        (
            "http",
            &["http", "queries", "schema", "profile", "db", "config"],
        ),
        ("queries", &["queries", "schema", "db", "config", "profile"]),
        ("schema", &["schema"]),
        ("db", &["db", "profile", "config", "breaker"]),
        ("config", &["config", "profile"]),
        ("profile", &["profile", "breaker"]),
        ("breaker", &[]),
        ("documents", &["queries"]),
    ];

    fn files(folder: &Path) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path());
        entries
            .flat_map(|path| {
                if path.is_dir() {
                    files(&path)
                } else {
                    vec![path]
                }
            })
            .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
            .collect()
    }

    #[test]
    fn modules_use_only_their_allowed_dependencies() {
        let mut count = 0;
        for file in files(Path::new("src")) {
            let inside = file.strip_prefix("src").unwrap().with_extension("");
            let module = inside.iter().next().unwrap().to_str().unwrap();
            if module == "lib" {
                continue;
            }
            let (_, allowed) = MAY_USE
                .iter()
                .find(|(name, _)| *name == module)
                .unwrap_or_else(|| panic!("{module} isn't in the table"));
            let source = std::fs::read_to_string(&file).unwrap();
            for used in source.split("crate::").skip(1) {
                let used: String = used
                    .chars()
                    .take_while(char::is_ascii_alphanumeric)
                    .collect();
                assert!(
                    allowed.contains(&used.as_str()),
                    "{}: {used}",
                    file.display()
                );
                count += 1;
            }
        }
        assert!(
            count > 10,
            "only {count} uses found: is this test reading the right files?"
        );
    }

    #[test]
    fn only_the_db_module_uses_the_postgres_api() {
        for file in files(Path::new("src")) {
            let source = std::fs::read_to_string(&file).unwrap();
            let needle = concat!("spin_sdk", "::pg");
            let in_db = file.starts_with("src/db") || file == Path::new("src/db.rs");
            assert!(in_db || !source.contains(needle), "{}", file.display());
        }
    }

    #[test]
    fn every_file_begins_with_a_module_doc_comment() {
        for file in files(Path::new("src")) {
            let source = std::fs::read_to_string(&file).unwrap();
            assert!(source.starts_with("//! "), "{}", file.display());
        }
    }
}
