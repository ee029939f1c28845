//! The Rust side of `wit/`: generated types and traits only; what they do is written in `postgres.rs` and `variables.rs`.

wasmtime::component::bindgen!({
    path: "wit",
    world: "imports",
    imports: {
        // A resource of the host's: making one can fail, and the WIT has no error for it.
        "spin:postgres/postgres.[constructor]connection-builder": async | trappable,
        default: async,
    },
    with: {
        "spin:postgres/postgres.connection": crate::postgres::Connection,
        "spin:postgres/postgres.connection-builder": crate::postgres::ConnectionBuilder,
    },
});
