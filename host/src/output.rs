//! Copies a component's stdout and stderr to the host's, line by line, so that lines of different instances never mix. An unfinished line
//! is written when its instance ends.

use std::{
    io::{self, Write},
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
};

use bytes::Bytes;
use tokio::io::AsyncWrite;
use wasmtime_wasi::{
    cli::{IsTerminal, StdoutStream},
    p2::{OutputStream, Pollable, StreamResult},
};

use crate::lock::lock;

/// The maximum length of an unfinished line. A longer line is written in pieces, so that a component can't fill the host's memory with it.
const MAX_LINE_BYTES: usize = 64 * 1024;

/// The destination of the lines.
#[derive(Clone, Copy, Debug)]
pub enum Target {
    /// The host's stdout.
    Stdout,
    /// The host's stderr.
    Stderr,
}

/// An output stream of one instance. Clones share the unfinished line.
#[derive(Clone, Debug)]
pub struct Lines(Arc<Mutex<Unfinished>>);

#[derive(Debug)]
struct Unfinished {
    target: Target,
    line: Vec<u8>,
}

impl Lines {
    /// Creates a stream for one instance.
    pub fn new(target: Target) -> Self {
        Self(Arc::new(Mutex::new(Unfinished {
            target,
            line: Vec::new(),
        })))
    }

    fn push(&self, bytes: &[u8]) {
        let mut unfinished = lock(&self.0);
        unfinished.line.extend_from_slice(bytes);
        let whole = unfinished
            .line
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |at| at + 1);
        let rest = unfinished.line.split_off(whole);
        unfinished.show();
        unfinished.line = rest;
        if unfinished.line.len() > MAX_LINE_BYTES {
            unfinished.end_line();
        }
    }
}

impl Unfinished {
    fn show(&mut self) {
        // `write_all` locks the output, so the lines of different instances don't mix. If the host's output is closed, the error can't be
        // reported anywhere, so it is ignored.
        let _ = match self.target {
            Target::Stdout => io::stdout()
                .write_all(&self.line)
                .and_then(|()| io::stdout().flush()),
            Target::Stderr => io::stderr().write_all(&self.line),
        };
        self.line.clear();
    }

    fn end_line(&mut self) {
        if !self.line.is_empty() {
            self.line.push(b'\n');
            self.show();
        }
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        self.end_line();
    }
}

impl IsTerminal for Lines {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Lines {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Lines {
    async fn ready(&mut self) {}
}

impl OutputStream for Lines {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.push(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(MAX_LINE_BYTES)
    }
}

impl AsyncWrite for Lines {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.push(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
