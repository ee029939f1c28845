//! Sets up wasmtime: compilation, its cache, the memory pool, and the interfaces that a component can import.

use std::{path::Path, thread, time::Duration};

use wasmtime::{
    Cache, CacheConfig, Config, Engine, InstanceAllocationStrategy, PoolingAllocationConfig,
    Result,
    component::{Component, HasSelf, Linker},
    error::Context as _,
};
use wasmtime_wasi_http::p3::bindings::ServicePre;

use crate::{bindings::Imports, guest::Guest, log::log};

/// The interval at which a computing guest yields to other tasks.
const TICK: Duration = Duration::from_millis(10);
/// The maximum number of concurrent instances, as in Spin.
pub const MAX_INSTANCES: u32 = 1_000;
const MAX_MEMORY_BYTES: usize = 128 << 20;

/// Builds the engine with its cache of compiled code, and starts the thread that interrupts computing guests.
pub fn build() -> Result<Engine> {
    let mut pool = PoolingAllocationConfig::default();
    pool.total_component_instances(MAX_INSTANCES)
        // A component built from Rust has one core module and a few small glue modules. So eight core instances for each instance suffice.
        .total_core_instances(8 * MAX_INSTANCES)
        .total_memories(MAX_INSTANCES)
        .total_tables(4 * MAX_INSTANCES)
        .total_stacks(2 * MAX_INSTANCES)
        // By default, the pool returns the memory of ended instances to the kernel, so the host needs little memory after a burst of requests.
        .max_memory_size(MAX_MEMORY_BYTES);
    let mut config = Config::new();
    config
        .wasm_component_model_async(true)
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool))
        .epoch_interruption(true)
        // Without zeroing, wasmtime returns no memory of a freed stack to the kernel.
        .async_stack_zeroing(true);
    // The cache is in the user's cache folder. The cache's keys include code, settings and wasmtime's version, so stale code is never loaded.
    match Cache::new(CacheConfig::new()) {
        Ok(cache) => _ = config.cache(Some(cache)),
        Err(error) => {
            log!("warning: compiled code is not cached, so every start compiles anew: {error:#}");
        }
    }
    let engine = Engine::new(&config).context("can't set up wasmtime")?;
    let clock = engine.weak();
    thread::spawn(move || {
        while let Some(engine) = clock.upgrade() {
            engine.increment_epoch();
            drop(engine);
            thread::sleep(TICK);
        }
    });
    Ok(engine)
}

/// Compiles the component or loads it from the cache, and links it.
pub fn prepare(engine: &Engine, source: &Path) -> Result<ServicePre<Guest>> {
    let shown = source.display();
    let bytes = std::fs::read(source).map_err(|error| {
        wasmtime::format_err!(
            "can't read {shown}: {error}; build the component first (`spin build`)"
        )
    })?;
    let component = Component::new(engine, bytes).with_context(|| {
        format!("{shown} is not a WebAssembly component; build it for wasm32-wasip2")
    })?;
    let mut linker = Linker::new(engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    wasmtime_wasi::p3::add_to_linker(&mut linker)?;
    wasmtime_wasi_http::p3::add_to_linker(&mut linker)?;
    Imports::add_to_linker::<_, HasSelf<Guest>>(&mut linker, |guest| guest)?;
    let pre = linker.instantiate_pre(&component).with_context(|| {
        format!(
            "{shown} needs an interface that this host doesn't have; run the application with Spin"
        )
    })?;
    ServicePre::new(pre).with_context(|| {
        format!("{shown} doesn't serve HTTP with WASI 0.3; build it with spin-sdk 7 or newer")
    })
}
