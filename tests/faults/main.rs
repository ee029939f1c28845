//! What goes wrong around the component, made to go wrong: each fault ends in the answer or the line it should.

mod database;
mod instances;
mod network;
mod replica;
mod setup;
mod tls;
