//! Request bodies, and the lingering close (RFC 9112, 9.6): a client that is still sending its body must be able to read an early
//! response.
//!
//! If a socket is closed while it has unread data, the kernel resets the connection, and the client may lose a response that it has not read.
//! So the host reads the rest of a body that a component doesn't read, for a limited time.
//!
//! A request gives its permit back while it waits for its client to send more of the body.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{Request, header::EXPECT};
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::{runtime::Handle, time::timeout};

use crate::{admission::RequestPermit, clients::Connection};

/// How long the host reads the rest of a body that the component doesn't read.
const LINGER_TIME: Duration = Duration::from_secs(5);

/// A part of a body, its end, or an error.
type Arrived = Option<Result<Frame<Bytes>, hyper::Error>>;

/// The body of a request. If it is dropped before its end, the host reads the rest.
pub struct RequestBody {
    /// The rest of the body; `None` at the end, and after an error.
    rest: Option<Incoming>,
    /// Whether the client still waits for `100 Continue` before it sends the body. In this case, there is no rest to read.
    is_awaited: bool,
    permit: RequestPermit,
    connection: Arc<Connection>,
    /// Whether the request has given its permit back.
    is_outside: bool,
    /// The part of the body that has arrived while the request waits for a permit.
    arrived: Option<(Arrived, BoxFuture<'static, ()>)>,
}

impl RequestBody {
    /// Wraps the body of a request.
    pub fn of(
        request: Request<Incoming>,
        permit: RequestPermit,
        connection: Arc<Connection>,
    ) -> Request<Self> {
        let is_awaited = request.headers().contains_key(EXPECT);
        request.map(|body| Self {
            rest: Some(body),
            is_awaited,
            permit,
            connection,
            is_outside: false,
            arrived: None,
        })
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        self.is_awaited = false;
        if self.arrived.is_none() {
            let Some(rest) = &mut self.rest else {
                return Poll::Ready(None);
            };
            let Poll::Ready(frame) = Pin::new(rest).poll_frame(context) else {
                if self.permit.release() {
                    self.connection.pauses();
                    self.is_outside = true;
                }
                return Poll::Pending;
            };
            if !matches!(frame, Some(Ok(_))) {
                self.rest = None;
            }
            if !self.is_outside {
                return Poll::Ready(frame);
            }
            self.connection.resumes();
            self.arrived = Some((frame, self.permit.reacquire()));
        }
        let Some((_, returning)) = &mut self.arrived else {
            return Poll::Ready(None);
        };
        ready!(returning.as_mut().poll(context));
        self.is_outside = false;
        Poll::Ready(self.arrived.take().and_then(|(frame, _)| frame))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.rest
            .as_ref()
            .map_or(SizeHint::with_exact(0), Body::size_hint)
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        // The component has dropped the body, so the request no longer waits for its client.
        if self.is_outside {
            self.connection.resumes();
        }
        let Some(mut rest) = self.rest.take().filter(|rest| !rest.is_end_stream()) else {
            return;
        };
        if self.is_awaited {
            return;
        }
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(timeout(LINGER_TIME, async move {
                while let Some(Ok(_)) = rest.frame().await {}
            }));
        }
    }
}
