//! The Rust side of `wit/`: generated types and traits only; what they do is written in `key_value.rs`,
//! `postgres.rs` and `variables.rs`.

wasmtime::component::bindgen!({
    path: "wit",
    world: "imports",
    imports: {
        // Resources and streams of the host's: making one can fail, and the WIT has no error for it.
        "spin:key-value/key-value.[method]store.get-keys": async | store | trappable,
        "spin:postgres/postgres.[constructor]connection-builder": async | trappable,
        default: async,
    },
    with: {
        "spin:key-value/key-value.store": crate::key_value::Opened,
        "spin:postgres/postgres.connection": crate::postgres::Connection,
        "spin:postgres/postgres.connection-builder": crate::postgres::ConnectionBuilder,
    },
});
