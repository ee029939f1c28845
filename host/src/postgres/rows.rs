//! A query's rows on their way to the guest, as it asks for them. Errors come last, through a future of their own, so a
//! guest that stops reading early never hears of them. That is Spin's behaviour and tests rely on it.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use futures_util::{Stream as _, TryStreamExt as _};
use tokio::sync::oneshot;
use tokio_postgres::{Row as PgRow, RowStream};
use wasmtime::{
    StoreContextMut,
    component::{Destination, StreamProducer, StreamResult},
};

use super::{convert, error, types};
use crate::bindings::spin::postgres::postgres::{Column, Error, Row};

type Next = Option<Result<PgRow, tokio_postgres::Error>>;

/// The guest's end of the rows.
pub struct Rows {
    stream: Pin<Box<RowStream>>,
    /// What has come and wasn't asked for yet; `Some(None)` at the end.
    next: Option<Next>,
    /// Told once, when no row is to come any more.
    outcome: Option<oneshot::Sender<Result<(), Error>>>,
}

impl Rows {
    /// Waits for the first row: the columns come with it, or not at all. The outcome comes when the rows were read.
    pub async fn start(
        stream: RowStream,
    ) -> (Self, Vec<Column>, oneshot::Receiver<Result<(), Error>>) {
        let mut stream = Box::pin(stream);
        let first = stream.try_next().await.transpose();
        let columns = match &first {
            Some(Ok(row)) => types::columns(row),
            _ => Vec::new(),
        };
        let (outcome, outcome_received) = oneshot::channel();
        let rows = Self {
            stream,
            next: Some(first),
            outcome: Some(outcome),
        };
        (rows, columns, outcome_received)
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Next> {
        match self.next.take() {
            Some(next) => Poll::Ready(next),
            None => self.stream.as_mut().poll_next(cx),
        }
    }

    fn end(&mut self, result: Result<(), Error>) -> StreamResult {
        if let Some(outcome) = self.outcome.take() {
            // The guest may not want to know.
            let _ = outcome.send(result);
        }
        StreamResult::Dropped
    }
}

impl Drop for Rows {
    fn drop(&mut self) {
        // The guest has dropped the stream: what remains is nobody's.
        self.end(Ok(()));
    }
}

impl<D> StreamProducer<D> for Rows {
    type Item = Row;
    type Buffer = Option<Row>;

    fn poll_produce(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        store: StoreContextMut<'_, D>,
        mut destination: Destination<'_, Row, Option<Row>>,
        finish: bool,
    ) -> Poll<wasmtime::Result<StreamResult>> {
        // A read of nothing asks whether a row is there; answering it with one could lose it.
        if destination.remaining(store) == Some(0) {
            return Poll::Ready(Ok(StreamResult::Completed));
        }
        let row = match self.poll_next(cx) {
            Poll::Pending if finish => return Poll::Ready(Ok(StreamResult::Cancelled)),
            Poll::Pending => return Poll::Pending,
            Poll::Ready(None) => return Poll::Ready(Ok(self.end(Ok(())))),
            Poll::Ready(Some(Err(failed))) => {
                return Poll::Ready(Ok(self.end(Err(error::query_failed(failed)))));
            }
            Poll::Ready(Some(Ok(row))) => row,
        };
        match convert(&row, row.raw_size_bytes()) {
            Ok(row) => destination.set_buffer(Some(row)),
            Err(error) => return Poll::Ready(Ok(self.end(Err(error)))),
        }
        // Most answers are one row, whose end has come with it: then it's told with it.
        match self.stream.as_mut().poll_next(cx) {
            Poll::Ready(None) => Poll::Ready(Ok(self.end(Ok(())))),
            Poll::Ready(next) => {
                self.next = Some(next);
                Poll::Ready(Ok(StreamResult::Completed))
            }
            Poll::Pending => Poll::Ready(Ok(StreamResult::Completed)),
        }
    }
}
