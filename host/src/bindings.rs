//! The generated types and traits for `wit/`. `interfaces/` implements the traits.

wasmtime::component::bindgen!({
    path: "wit",
    world: "imports",
    imports: {
        // These two functions create a resource or streams, which can fail. The WIT declares no error for them, so a failure is a trap.
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
