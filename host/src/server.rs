//! The HTTP/1 server: accepts connections, routes requests to components, refuses requests, and shuts down gracefully. The server streams
//! bodies in both directions without interpreting them.

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

use http::{
    HeaderValue, Request, Response, StatusCode,
    header::{CONNECTION, CONTENT_TYPE, TRANSFER_ENCODING},
};
use http_body_util::{BodyExt as _, Empty, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    time::{Instant, sleep, timeout, timeout_at},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use wasmtime_wasi_http::{Error, WasiBody, handler::ProxyHandler};

use crate::{
    admission::{Admission, RequestPermit},
    clients::{Clients, Connection, Guard, Stream},
    instances::{Instances, Lifetime, one_line},
    lanes::{ByLane, Lane},
    log::log,
    memory,
    request_body::RequestBody,
    response_body::ResponseBody,
    routes::Routes,
    target::{Target, target},
};

/// The response on a connection that is refused because the host or the client has too many connections.
const TOO_MANY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\nretry-after: 1\r\nconnection: close\r\n\r\n";
/// The pause after a failed accept. For example, if file descriptors have run out, running connections may end during the pause and free some.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// At shutdown, how long the host waits for the first request on a connection that has had no request yet.
const FIRST_REQUEST_GRACE: Duration = Duration::from_millis(100);
/// At shutdown, how long running requests and work after responses may take.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(30);

/// The application, ready to serve.
pub struct Server {
    /// The routes of the application.
    pub routes: Routes,
    /// The instances of each component, by the component's id.
    pub components: HashMap<String, ByLane<ProxyHandler<Instances>>>,
    /// See [`Lifetime`].
    pub lifetime: Lifetime,
    /// See [`Admission`].
    pub admission: ByLane<Admission>,
    /// See [`Clients`].
    pub clients: Arc<Clients>,
    /// The path of the application's health check.
    pub health_path: String,
    /// The maximum size in bytes of a request's head, and of a connection's buffers.
    pub max_header_bytes: usize,
    /// Whether the application requires no token although it declares a variable for one.
    pub is_open: bool,
}

impl Server {
    /// Serves until `stop` is cancelled, then waits for running work to end. Returns true if all of the work ended in time.
    pub async fn run(
        self,
        listener: TcpListener,
        local: SocketAddr,
        stop: CancellationToken,
    ) -> bool {
        let lifetime = self.lifetime.clone();
        let server = Arc::new(self);
        let connections = TaskTracker::new();
        let memory = tokio::spawn(memory::give_back(server.clients.clone()));
        loop {
            let next = async {
                let (stream, client) = listener.accept().await?;
                let has_room = server.clients.wait_for_room(client.ip()).await;
                let guard = has_room.then(|| server.clients.add(client.ip())).flatten();
                std::io::Result::Ok((stream, client, guard))
            };
            let Some(accepted) = stop.run_until_cancelled(next).await else {
                break;
            };
            match accepted {
                Ok((stream, client, Some(guard))) => {
                    let (server, stop) = (server.clone(), stop.clone());
                    connections.spawn(async move {
                        let connection = server.connection(stream, client, local, stop, &guard);
                        let closing = &guard.connection.closing;
                        closing.run_until_cancelled(connection).await;
                    });
                }
                Ok((stream, _, None)) => _ = stream.try_write(TOO_MANY),
                Err(error) => {
                    log!("error: can't accept a connection: {error}");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        drop(listener);
        memory.abort();
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
        guard: &Guard,
    ) {
        // Disables Nagle's algorithm. With it, a client with a persistent connection waits about 40 ms for the second segment of each response.
        let _ = stream.set_nodelay(true);
        let used = AtomicBool::new(false);
        let service = service_fn(|request| {
            used.store(true, Ordering::Relaxed);
            let server = self.clone();
            let connection = guard.connection.clone();
            async move {
                connection.begins();
                let response = server.answer(request, client, local, &connection).await;
                connection.responds();
                Ok::<_, Infallible>(response)
            }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.clients.timeout())
            .max_buf_size(self.max_header_bytes)
            .serve_connection(TokioIo::new(Stream::new(stream, guard)), service);
        let mut connection = pin!(connection);
        tokio::select! {
            ended = connection.as_mut() => {
                // Logs only errors in the response, because most other errors mean that the client has disconnected.
                if let Err(error) = ended && error.is_user() {
                    log!("error: a response ended before it was complete: {error:?}");
                }
            }
            () = stop.cancelled() => {
                let used = || used.load(Ordering::Relaxed);
                // A client that has just connected may be about to send its first request.
                if !used() && timeout(FIRST_REQUEST_GRACE, connection.as_mut()).await.is_ok() {
                    return;
                }
                connection.as_mut().graceful_shutdown();
                // If the client has sent no complete request by now, the host need not wait for a response.
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
        connection: &Arc<Connection>,
    ) -> Response<ResponseBody> {
        let is_chunked = request.headers().contains_key(TRANSFER_ENCODING);
        let lane = Lane::of(&request, &self.health_path);
        let permit = self.admission.of(lane).request(client.ip());
        let request = RequestBody::of(request, permit.clone(), connection.clone());
        let mut response = self
            .answer_from(request, client, local, (lane, permit), connection)
            .await;
        if is_chunked {
            // The request may also have had a Content-Length, which hyper ignores. A proxy that used the Content-Length sees the next request
            // at another position, so the host must not read further requests from this connection (RFC 9112, 6.1).
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(CONNECTION, close);
        }
        response.map(|body| ResponseBody::new(body, connection.clone()))
    }

    async fn answer_from(
        &self,
        mut request: Request<RequestBody>,
        client: SocketAddr,
        local: SocketAddr,
        (lane, permit): (Lane, RequestPermit),
        connection: &Connection,
    ) -> Response<WasiBody> {
        let uri = match target(&request, local) {
            Ok(Target::Resource(uri)) => uri,
            Ok(Target::Server) => return empty(StatusCode::NO_CONTENT),
            Err((status, text)) => return plain(status, text),
        };
        let path = uri.path();
        // Answers Spin's own paths, which aren't routed to components.
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
        let instances = self.components[&route.component].of(lane).clone();
        let work = async move { instances.handle((), request).await };
        let (handled, permit) = permit.run(work).await;
        connection.keep_permit(permit);
        match handled {
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
    let body = Full::from(text).map_err(|never| match never {});
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    let mut response = empty(status).map(|_| body.boxed_unsync());
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}
