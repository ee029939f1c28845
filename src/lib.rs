//! reznet-edge: RezNet AI's backend API as one WebAssembly component for Spin, with a database profiler built in.
//!
//! This file lists the modules and holds the component's entry point; nothing else belongs here.
//! Who may use whom: `lib → http, config` · `http → queries, profile, db, config` · `queries → db` ·
//! `db → profile, config` · `profile → nothing of ours`.
//!
//! Everything but the entry point compiles natively too, for unit tests and the plan suite.

// A trap takes down every request of its instance, so nothing that runs in one may panic.
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

pub mod config;
pub mod db;
pub mod http;
pub mod profile;
pub mod queries;

/// The component's only entry point: every request of every route comes in here.
// On wasm only: the names it exports aren't valid in a native library.
#[cfg(target_family = "wasm")]
#[spin_sdk::http_service]
async fn handle(
    request: spin_sdk::http::Request,
) -> Result<::http::Response<axum::body::Body>, spin_sdk::http::Error> {
    Ok(http::handle(request.map(axum::body::Body::new)).await)
}
