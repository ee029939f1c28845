//! Runs a Spin application without Spin: reads the files that `spin up` reads, and serves the same routes. This file only connects the
//! modules and reports each failure as one line on stderr.

mod admission;
mod allowed_hosts;
mod bindings;
mod cli;
mod client_network;
mod clients;
mod engine;
mod guest;
mod instances;
mod interfaces;
mod key_value;
mod lanes;
mod lock;
mod log;
mod manifest;
mod memory;
mod output;
mod postgres;
mod request_body;
mod response_body;
mod routes;
mod server;
mod target;
mod variables;

use std::{
    collections::HashMap, fmt::Write as _, io::Write as _, net::SocketAddr, process::ExitCode,
    sync::Arc,
};

use anyhow::{Context as _, Result, anyhow};
use tokio::{
    net::{TcpListener, TcpSocket},
    signal::unix::{SignalKind, signal},
};
use tokio_util::sync::CancellationToken;
use wasmtime_wasi_http::handler::ProxyHandler;

use crate::{
    allowed_hosts::AllowedHosts,
    cli::Cli,
    clients::{Clients, Limits},
    guest::App,
    instances::{Instances, Lifetime, Reuse},
    lanes::{ByLane, admission},
    log::log,
    manifest::{Manifest, RuntimeConfig},
    routes::Routes,
    server::Server,
    variables::{ComponentVariables, Variables},
};

/// The application variable that contains the API's tokens. An application need not declare this variable.
const API_TOKEN: &str = "api_token";

fn main() -> ExitCode {
    match start() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log!("error: {}", format!("{error:#}").replace('\n', " "));
            ExitCode::FAILURE
        }
    }
}

fn start() -> Result<()> {
    let cli = Cli::read(std::env::args_os()).map_err(anyhow::Error::msg)?;
    let runtime = tokio::runtime::Runtime::new().context("can't start threads")?;
    runtime.block_on(run(&cli))
}

async fn run(cli: &Cli) -> Result<()> {
    let lifetime = Lifetime::new();
    let server = load(cli, &lifetime)?;
    let address = cli.listen;
    let listener = listen(address).map_err(|error| {
        if error.kind() == std::io::ErrorKind::AddrInUse {
            let mut other = address;
            other.set_port(address.port().checked_add(1).unwrap_or(0));
            anyhow!(
                "{address} is in use; stop the program that listens there, or pass --listen {other}"
            )
        } else {
            anyhow!("can't listen on {address}: {error}; pass another --listen")
        }
    })?;
    let local = listener.local_addr()?;
    if server.is_open && !local.ip().is_loopback() {
        log!(
            "warning: every client that reaches {local} may use the application: set the variable {API_TOKEN}, \
             or listen on 127.0.0.1"
        );
    }
    let stop = stop_on_signal()?;
    announce(local, &server.routes);
    if !server.run(listener, local, stop).await {
        log!("warning: stopped before all work had ended");
    }
    Ok(())
}

/// The size of the kernel's send buffer for each connection. By default, the kernel buffers megabytes for a client that doesn't read.
const SEND_BUFFER_BYTES: u32 = 256 * 1024;

/// The kernel accepts more of a response only while a connection has fewer unsent bytes than this. Because of this limit, a client that doesn't
/// read makes the host work for only a few of its pipelined requests. Sent bytes without an acknowledgement don't count.
#[cfg(target_os = "linux")]
const UNSENT_BYTES: u32 = 16 * 1024;

/// The maximum number of connections that wait to be accepted; tokio's default.
const BACKLOG: u32 = 1024;

fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    socket.set_reuseaddr(true)?;
    // The sockets of accepted connections inherit the buffer's size and TCP_NOTSENT_LOWAT.
    socket.set_send_buffer_size(SEND_BUFFER_BYTES)?;
    // Ignores an error, because some sandboxes don't support TCP_NOTSENT_LOWAT, and the host also works without it.
    #[cfg(target_os = "linux")]
    let _ = socket2::SockRef::from(&socket).set_tcp_notsent_lowat(UNSENT_BYTES);
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Reads the application's configuration and prepares each component.
fn load(cli: &Cli, lifetime: &Lifetime) -> Result<Server> {
    let manifest = Manifest::read(&cli.from)?;
    let config = RuntimeConfig::read(cli.runtime_config_file.as_deref())?;
    let variables = Variables::resolve(&manifest.variables, &cli.variables()?, |name| {
        std::env::var(name).ok()
    })?;
    let routes = Routes::new(&manifest.trigger.http)?;
    let connection_permits = config
        .outbound_pg
        .max_connections
        .map(postgres::Permits::new);
    let reuse = Reuse {
        requests: cli.max_instance_reuse_count,
        concurrent_requests: cli.max_instance_concurrent_reuse_count,
        idle_timeout: cli.idle_instance_timeout,
        request_timeout: cli.request_timeout,
    };
    let store = Arc::new(key_value::Store::default());
    let engine = engine::build()?;
    let mut components = HashMap::new();
    for (id, component) in &manifest.component {
        let app = App {
            variables: ComponentVariables::new(id, &component.variables, &variables)?,
            allowed_hosts: AllowedHosts::parse(&component.allowed_outbound_hosts, &variables)
                .with_context(|| format!("component {id:?}"))?,
            pools: postgres::Pools::default(),
            key_value_store: (!component.key_value_stores.is_empty()).then(|| store.clone()),
            connection_permits: connection_permits.clone(),
        };
        let instances = Instances {
            component: id.clone(),
            pre: engine::prepare(&engine, &component.source)?,
            app: Arc::new(app),
            reuse,
            lifetime: lifetime.clone(),
        };
        let handlers = ByLane {
            ordinary: ProxyHandler::new(instances.clone()),
            large: ProxyHandler::new(instances.clone()),
            health: ProxyHandler::new(instances),
        };
        components.insert(id.clone(), handlers);
    }
    Ok(Server {
        routes,
        components,
        lifetime: lifetime.clone(),
        admission: admission(),
        clients: Clients::new(Limits {
            connections: cli.max_connections,
            connections_per_client: cli.max_connections_per_client,
            timeout: cli.client_timeout,
        }),
        health_path: cli.health_path.clone(),
        max_header_bytes: cli.max_header_bytes,
        is_open: variables.is_empty(API_TOKEN),
    })
}

/// Prints the address and the routes. Scripts wait for the first line, because the host accepts connections by the time it prints this line.
fn announce(local: SocketAddr, routes: &Routes) {
    let mut text = format!("Serving http://{local}\nAvailable Routes:\n");
    for route in &routes.0 {
        let _ = writeln!(text, "  {}: http://{local}{}", route.component, route.raw);
    }
    let mut stdout = std::io::stdout().lock();
    // Ignores an error, because the host must continue to serve if nobody reads stdout.
    let _ = stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush());
}

/// Returns a token that the first SIGINT or SIGTERM cancels. The second signal ends the process immediately.
fn stop_on_signal() -> Result<CancellationToken> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let stop = CancellationToken::new();
    let stopping = stop.clone();
    tokio::spawn(async move {
        for again in [false, true] {
            tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
            if again {
                std::process::exit(130);
            }
            log!("Stopping: running requests may finish; once more to stop at once");
            stopping.cancel();
        }
    });
    Ok(stop)
}
