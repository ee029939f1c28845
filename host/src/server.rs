//! HTTP/1 in, components' answers out: connections, routing, refusals, and the orderly end.
//! It doesn't look into bodies: they stream through in both directions.

use std::{
    collections::HashMap,
    convert::Infallible,
    net::SocketAddr,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{
    Request, Response, StatusCode,
    header::{CONNECTION, TRANSFER_ENCODING},
};
use http_body_util::{BodyExt as _, Empty, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::{Instant, sleep, timeout, timeout_at},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use wasmtime_wasi_http::{Error, WasiBody, handler::ProxyHandler};

use crate::{
    instances::{Instances, Lifetime, one_line},
    log::log,
    places::Places,
    request_body::RequestBody,
    routes::Routes,
    target::{Target, target},
};

/// More clients wait in the listener's queue.
const MAX_CONNECTIONS: usize = 1_000;
/// For the head of a request; also how long a kept-alive connection may be silent.
const HEADER_READ_TIMEOUT: Duration = Duration::from_secs(30);
/// After a failed accept, such as for want of file descriptors: time for some to close.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// At the end, for connections that haven't sent a request.
const FIRST_REQUEST_GRACE: Duration = Duration::from_millis(100);
/// At the end, for running requests and for work after responses.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(30);

/// The application, ready to serve.
pub struct Server {
    /// Where requests go.
    pub routes: Routes,
    /// The components by id.
    pub components: HashMap<String, ProxyHandler<Instances>>,
    /// See [`Lifetime`].
    pub lifetime: Lifetime,
    /// See [`Places`].
    pub places: Places,
    /// Whether the application asks nobody who they are, though it could.
    pub is_open: bool,
}

impl Server {
    /// Serves until `stop` is cancelled, then lets running work end. Returns whether all of it did.
    pub async fn run(
        self,
        listener: TcpListener,
        local: SocketAddr,
        stop: CancellationToken,
    ) -> bool {
        let lifetime = self.lifetime.clone();
        let server = Arc::new(self);
        let connections = TaskTracker::new();
        let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        loop {
            let next = async {
                let place = places.clone().acquire_owned().await;
                (place, listener.accept().await)
            };
            let (place, accepted) = tokio::select! {
                next = next => next,
                () = stop.cancelled() => break,
            };
            match accepted {
                Ok((stream, client)) => {
                    let connection = server
                        .clone()
                        .connection(stream, client, local, stop.clone());
                    connections.spawn(async move {
                        connection.await;
                        drop(place);
                    });
                }
                Err(error) => {
                    log!("error: can't accept a connection: {error}");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        drop(listener);
        connections.close();
        let deadline = Instant::now() + DRAIN_TIMEOUT;
        let answered = timeout_at(deadline, connections.wait()).await.is_ok();
        lifetime.ending.cancel();
        lifetime.alive.close();
        let ended = timeout_at(deadline, lifetime.alive.wait()).await.is_ok();
        answered && ended
    }

    async fn connection(
        self: Arc<Self>,
        stream: TcpStream,
        client: SocketAddr,
        local: SocketAddr,
        stop: CancellationToken,
    ) {
        // Without it a kept-alive client waits some 40 ms for the second segment of each response.
        let _ = stream.set_nodelay(true);
        let used = AtomicBool::new(false);
        let service = service_fn(|request| {
            used.store(true, Ordering::Relaxed);
            let server = self.clone();
            async move { Ok::<_, Infallible>(server.answer(request, client, local).await) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_READ_TIMEOUT)
            .serve_connection(TokioIo::new(stream), service);
        let mut connection = pin!(connection);
        tokio::select! {
            ended = connection.as_mut() => {
                // Most other errors are the client's going away.
                if let Err(error) = ended && error.is_user() {
                    log!("error: an answer broke off midway: {error:?}");
                }
            }
            () = stop.cancelled() => {
                let used = || used.load(Ordering::Relaxed);
                // A first request may be on its way.
                if !used() && timeout(FIRST_REQUEST_GRACE, connection.as_mut()).await.is_ok() {
                    return;
                }
                connection.as_mut().graceful_shutdown();
                // Without a whole request by now there's nothing to wait for.
                if used() {
                    let _ = connection.await;
                }
            }
        }
    }

    async fn answer(
        &self,
        request: Request<Incoming>,
        client: SocketAddr,
        local: SocketAddr,
    ) -> Response<WasiBody> {
        let is_chunked = request.headers().contains_key(TRANSFER_ENCODING);
        let request = RequestBody::of(request);
        let mut response = self.answer_from(request, client, local).await;
        if is_chunked {
            // The request may also have had a Content-Length, which hyper ignores. A proxy that used it sees the next request at
            // another position, so the host must not read further requests from this connection (RFC 9112, 6.1).
            let close = http::HeaderValue::from_static("close");
            response.headers_mut().insert(CONNECTION, close);
        }
        response
    }

    async fn answer_from(
        &self,
        mut request: Request<RequestBody>,
        client: SocketAddr,
        local: SocketAddr,
    ) -> Response<WasiBody> {
        let uri = match target(&request, local) {
            Ok(Target::Resource(uri)) => uri,
            Ok(Target::Server) => return empty(StatusCode::NO_CONTENT),
            Err((status, text)) => return plain(status, text),
        };
        let path = uri.path();
        // Spin's own paths, which no component sees.
        if let Some(own) = path.strip_prefix("/.well-known/spin/") {
            return match own {
                "health" => plain(StatusCode::OK, "OK"),
                _ => plain(StatusCode::NOT_FOUND, "not found\n"),
            };
        }
        let Some(route) = self.routes.find(path) else {
            return plain(StatusCode::NOT_FOUND, "not found\n");
        };
        *request.uri_mut() = uri;
        route.set_headers(&mut request, client);
        let what = format!("{} {}", request.method(), request.uri().path());
        let request = request.map(|body| body.map_err(Error::from).boxed_unsync());
        let component = self.components[&route.component].clone();
        let handled = self
            .places
            .run(async move { component.handle((), request).await });
        match handled.await {
            Ok(response) => response,
            Err(error) => {
                log!(
                    "error: {what} got no answer from {}: {}",
                    route.component,
                    one_line(&error)
                );
                plain(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "the component failed to answer\n",
                )
            }
        }
    }
}

fn empty(status: StatusCode) -> Response<WasiBody> {
    let body = Empty::new().map_err(|never| match never {});
    let mut response = Response::new(body.boxed_unsync());
    *response.status_mut() = status;
    response
}

fn plain(status: StatusCode, text: &'static str) -> Response<WasiBody> {
    let body = Full::new(Bytes::from_static(text.as_bytes()));
    let mut response = Response::new(body.map_err(|never| match never {}).boxed_unsync());
    *response.status_mut() = status;
    let kind = http::HeaderValue::from_static("text/plain; charset=utf-8");
    response
        .headers_mut()
        .insert(http::header::CONTENT_TYPE, kind);
    response
}
