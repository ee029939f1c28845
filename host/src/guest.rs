//! The data of one instance of a component: its WASI contexts, its resources, and a reference to the data that all instances share. A guest has
//! no files, environment, arguments or network, and can reach only the database and the key-value store.

use std::sync::Arc;

use wasmtime::component::ResourceTable;
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::{
    DEFAULT_FORBIDDEN_HEADERS, Error, ForbiddenHeaderFilter, RequestOptions, WasiBody, WasiHttpCtx,
    WasiHttpCtxView, WasiHttpHooks, WasiHttpView,
};

use crate::{
    allowed_hosts::AllowedHosts,
    key_value::Store,
    output::{Lines, Target},
    postgres::{Permits, Pools},
    variables::ComponentVariables,
};

/// The data that all instances of one component share.
pub struct App {
    /// `[component.ID.variables]`, filled in.
    pub variables: ComponentVariables,
    /// `[component.ID] allowed_outbound_hosts`, filled in.
    pub allowed_hosts: AllowedHosts,
    /// The component's database connections, by address.
    pub pools: Pools,
    /// The key-value store, if `[component.ID] key_value_stores` names it.
    pub key_value_store: Option<Arc<Store>>,
    /// The permits of `[outbound_pg] max_connections`, shared by all components. Each connection of a guest needs one.
    pub connection_permits: Option<Permits>,
}

/// The data in the wasmtime store of one instance.
pub struct Guest {
    /// See [`App`].
    pub app: Arc<App>,
    /// The instance's handles: connections, streams, requests.
    pub table: ResourceTable,
    wasi: WasiCtx,
    http: WasiHttpCtx,
    hooks: HttpHooks,
}

impl Guest {
    /// Returns the data of a new instance.
    pub fn new(app: Arc<App>) -> Self {
        let mut wasi = WasiCtx::builder();
        wasi.stdout(Lines::new(Target::Stdout))
            .stderr(Lines::new(Target::Stderr));
        Self {
            app,
            table: ResourceTable::new(),
            wasi: wasi.build(),
            http: WasiHttpCtx::new(),
            hooks: HttpHooks,
        }
    }
}

impl WasiView for Guest {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: &mut self.wasi,
            table: &mut self.table,
        }
    }
}

impl WasiHttpView for Guest {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView {
            ctx: &mut self.http,
            table: &mut self.table,
            hooks: &mut self.hooks,
        }
    }
}

struct HttpHooks;

type Sent = (
    http::Response<WasiBody>,
    Box<dyn Future<Output = Result<(), Error>> + Send>,
);

impl WasiHttpHooks for HttpHooks {
    /// Lets components see a request's Host header, as in Spin. By default, wasmtime hides this header.
    fn forbidden_header_filter(&mut self) -> ForbiddenHeaderFilter {
        Arc::new(|name| *name != http::header::HOST && DEFAULT_FORBIDDEN_HEADERS.contains(name))
    }

    /// Refuses every request. Components import the HTTP client even if they never use it, so this function must exist.
    fn send_request(
        &mut self,
        _: http::Request<WasiBody>,
        _: Option<RequestOptions>,
        _: Box<dyn Future<Output = Result<(), Error>> + Send>,
    ) -> Box<dyn Future<Output = Result<Sent, Error>> + Send> {
        Box::new(async { Err(Error::HttpRequestDenied) })
    }
}
