//! Faults around the component. Each must end in the expected answer or log line.

mod database;
mod instances;
mod network;
mod replica;
mod setup;
mod tls;
