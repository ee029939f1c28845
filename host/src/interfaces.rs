//! The interfaces of `wit/` that guests call, one file for each.

mod key_value;
mod postgres;
mod variables;
