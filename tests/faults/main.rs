//! Tests with faults in the component's environment: network, database, replica, host and configuration. For each fault, the response or
//! the log line must be as expected.

mod database;
mod instances;
mod network;
mod replica;
mod setup;
mod tls;
