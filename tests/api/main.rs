//! The API over HTTP, against a running host with a database for each test. Files mirror the URLs.

mod agents;
mod health;
mod http;
mod performance;
mod profile;
