//! Streams a query's rows to the guest. An error comes after the rows, in a separate future, so a guest that stops reading early doesn't get
//! the error. Spin behaves in the same way, and tests rely on this.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use futures_util::TryStreamExt as _;
use tokio::sync::{mpsc, oneshot};
use tokio_postgres::RowStream;
use wasmtime::{
    StoreContextMut,
    component::{Destination, StreamProducer, StreamResult},
};

use super::{convert, error, types};
use crate::bindings::spin::postgres::postgres::{Column, Error, Row};
use crate::postgres::Connection;

/// The maximum number of rows that wait for the guest, as in Spin. If more rows are unread while a guest awaits the outcome, the guest hangs in
/// Spin, so it should hang here too.
const WAITING_ROWS: usize = 4;

/// Reads the stream in a separate task, until the stream ends or the guest drops the rows. The columns are sent with the first row, so a result
/// without rows sends no columns.
pub fn send(
    stream: RowStream,
    session: Connection,
) -> (
    Rows,
    oneshot::Receiver<Vec<Column>>,
    oneshot::Receiver<Result<(), Error>>,
) {
    let (rows, rows_received) = mpsc::channel(WAITING_ROWS);
    let (columns, columns_received) = oneshot::channel();
    let (outcome, outcome_received) = oneshot::channel();
    tokio::spawn(async move {
        let mut stream = Box::pin(stream);
        let mut columns = Some(columns);
        let result = loop {
            let next = tokio::select! {
                biased;
                // The guest has dropped the stream, so the remaining rows are discarded.
                () = rows.closed() => break Ok(()),
                next = stream.try_next() => next,
            };
            let row = match next {
                Ok(Some(row)) => row,
                last => {
                    session.ended(last.as_ref().err());
                    break last.map(|_| ()).map_err(error::query_failed);
                }
            };
            if let Some(columns) = columns.take() {
                let _ = columns.send(types::columns(&row));
            }
            match convert(&row, row.raw_size_bytes()) {
                Ok(row) => {
                    if let Err(dropped) = rows.send(row).await {
                        break Err(error::query_text(format!("async error: {dropped}")));
                    }
                }
                Err(error) => break Err(error),
            }
        };
        let _ = outcome.send(result);
    });
    (Rows(rows_received), columns_received, outcome_received)
}

/// The rows that wait for the guest.
pub struct Rows(mpsc::Receiver<Row>);

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
        // A read of zero rows only asks whether a row is available. A row sent in response could be lost.
        if destination.remaining(store) == Some(0) {
            return Poll::Ready(Ok(StreamResult::Completed));
        }
        match self.0.poll_recv(cx) {
            Poll::Ready(Some(row)) => {
                destination.set_buffer(Some(row));
                Poll::Ready(Ok(StreamResult::Completed))
            }
            Poll::Ready(None) => Poll::Ready(Ok(StreamResult::Dropped)),
            Poll::Pending if finish => Poll::Ready(Ok(StreamResult::Cancelled)),
            Poll::Pending => Poll::Pending,
        }
    }
}
