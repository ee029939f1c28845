//! Response bodies. A response keeps the permit of its request until the kernel has accepted the whole body, so that many responses of one
//! client don't make others wait for the CPU. The response gives the permit back earlier if it has to wait for its client or its component, or
//! if the body takes longer than [`LONGEST_STAY`].

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep};
use wasmtime_wasi_http::{Error, WasiBody};

use crate::{admission::MOMENT, clients::Connection};

/// The maximum time that a response keeps its permit. Without this limit, a component that produces data every few milliseconds would keep
/// the permit for the whole stream.
const LONGEST_STAY: Duration = Duration::from_millis(100);

/// The body of a response on a connection.
pub struct ResponseBody {
    body: WasiBody,
    connection: Arc<Connection>,
    started: Instant,
    /// The timer after which the response gives its permit back, set while the response waits for its component.
    waiting: Option<Pin<Box<Sleep>>>,
}

impl ResponseBody {
    /// Wraps the body of a response.
    pub fn new(body: WasiBody, connection: Arc<Connection>) -> Self {
        Self {
            body,
            connection,
            started: Instant::now(),
            waiting: None,
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(context);
        if !self.connection.has_permit() {
            return frame;
        }
        if self.started.elapsed() >= LONGEST_STAY {
            self.connection.release_permit();
        } else if frame.is_ready() {
            self.waiting = None;
        } else {
            let waiting = self.waiting.get_or_insert_with(|| Box::pin(sleep(MOMENT)));
            if waiting.as_mut().poll(context).is_ready() {
                self.connection.release_permit();
            }
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for ResponseBody {
    fn drop(&mut self) {
        self.connection.release_permit();
    }
}
