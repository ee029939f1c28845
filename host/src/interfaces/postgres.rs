//! Implements the interface `spin:postgres/postgres@4.2.0`, by which guests open connections and run statements. The functions that wait for
//! the database have a blocking and an async form.
#![expect(
    clippy::result_large_err,
    reason = "the WIT defines the error type and therefore its size, and most functions return it"
)]

mod error;
mod rows;
mod types;

use std::sync::Arc;

use deadpool_postgres::Object;
use futures_util::TryStreamExt as _;
use tokio_postgres::{Row as PgRow, RowStream, Statement, error::SqlState, types::ToSql};
use wasmtime::component::{Accessor, FutureReader, HasSelf, Resource, StreamReader};

use crate::{
    bindings::spin::postgres::postgres::{
        Column, Error, Host, HostConnection, HostConnectionBuilder, HostConnectionBuilderWithStore,
        HostConnectionWithStore, ParameterValue, Row, RowSet,
    },
    guest::{App, Guest},
    postgres::{CaRoot, Connection, ConnectionBuilder, Session},
};

/// The maximum size of a buffered result, as in Spin. If rows are streamed, the limit applies to each row.
const MAX_RESULT_BYTES: usize = 128 << 20;
/// The maximum number of prepared statements of a connection. At the limit, the connection drops all of them. The limit is needed because
/// guests may send any number of different statements.
const MAX_PREPARED: usize = 256;

type QueryStreams = (
    Vec<Column>,
    StreamReader<Row>,
    FutureReader<Result<(), Error>>,
);

/// Opens a connection, if `allowed_outbound_hosts` contains its address.
async fn connect(builder: ConnectionBuilder, app: &App) -> Result<Connection, Error> {
    let config: tokio_postgres::Config = builder
        .address
        .parse()
        .map_err(|e: tokio_postgres::Error| Error::ConnectionFailed(e.to_string()))?;
    app.allowed_hosts
        .check(&config)
        .map_err(Error::ConnectionFailed)?;
    // Acquires the permit before opening the connection, like Spin.
    let permit = match &app.connection_permits {
        Some(permits) => Some(permits.acquire().await.map_err(Error::ConnectionFailed)?),
        None => None,
    };
    let client = app
        .pools
        .get(&builder.address, config, builder.ca_root)
        .await;
    let client = client.map_err(|e| Error::ConnectionFailed(error::causes(&e)))?;
    Ok(Arc::new(Session::new(client, permit)))
}

impl Guest {
    fn session(&self, connection: &Resource<Connection>) -> Result<Connection, Error> {
        self.table.get(connection).cloned().map_err(host_failed)
    }

    fn builder(&self, builder: &Resource<ConnectionBuilder>) -> Result<ConnectionBuilder, Error> {
        self.table.get(builder).cloned().map_err(host_failed)
    }
}

impl Host for Guest {}

impl HostConnectionBuilder for Guest {
    async fn new(&mut self, address: String) -> wasmtime::Result<Resource<ConnectionBuilder>> {
        Ok(self.table.push(ConnectionBuilder::new(address))?)
    }

    async fn set_ca_root(
        &mut self,
        builder: Resource<ConnectionBuilder>,
        pem: String,
    ) -> Result<(), Error> {
        let ca_root = CaRoot::parse(pem).map_err(Error::Other)?;
        self.table.get_mut(&builder).map_err(host_failed)?.ca_root = Some(ca_root);
        Ok(())
    }

    async fn build(
        &mut self,
        builder: Resource<ConnectionBuilder>,
    ) -> Result<Resource<Connection>, Error> {
        let connection = connect(self.builder(&builder)?, &self.app).await?;
        self.table.push(connection).map_err(host_failed)
    }

    async fn drop(&mut self, builder: Resource<ConnectionBuilder>) -> wasmtime::Result<()> {
        self.table.delete(builder)?;
        Ok(())
    }
}

impl HostConnection for Guest {
    async fn open(&mut self, address: String) -> Result<Resource<Connection>, Error> {
        let connection = connect(ConnectionBuilder::new(address), &self.app).await?;
        self.table.push(connection).map_err(host_failed)
    }

    async fn query(
        &mut self,
        connection: Resource<Connection>,
        statement: String,
        parameters: Vec<ParameterValue>,
    ) -> Result<RowSet, Error> {
        let session = self.session(&connection)?;
        query(&session, &statement, parameters).await
    }

    async fn execute(
        &mut self,
        connection: Resource<Connection>,
        statement: String,
        parameters: Vec<ParameterValue>,
    ) -> Result<u64, Error> {
        let session = self.session(&connection)?;
        execute(&session, &statement, parameters).await
    }

    async fn drop(&mut self, connection: Resource<Connection>) -> wasmtime::Result<()> {
        self.table.delete(connection)?;
        Ok(())
    }
}

impl<T: Send> HostConnectionBuilderWithStore<T> for HasSelf<Guest> {
    async fn build_async(
        accessor: &Accessor<T, Self>,
        builder: Resource<ConnectionBuilder>,
    ) -> Result<Resource<Connection>, Error> {
        let builder = accessor.with(|mut access| access.get().builder(&builder))?;
        open(accessor, builder).await
    }
}

impl<T: Send> HostConnectionWithStore<T> for HasSelf<Guest> {
    async fn open_async(
        accessor: &Accessor<T, Self>,
        address: String,
    ) -> Result<Resource<Connection>, Error> {
        open(accessor, ConnectionBuilder::new(address)).await
    }

    async fn query_async(
        accessor: &Accessor<T, Self>,
        connection: Resource<Connection>,
        statement: String,
        parameters: Vec<ParameterValue>,
    ) -> Result<QueryStreams, Error> {
        let session = accessor.with(|mut access| access.get().session(&connection))?;
        let (rows, columns, outcome) = rows::send(
            start_query(&session, &statement, parameters).await?,
            session,
        );
        // The columns come from the first row. A result without rows has no columns, as in Spin.
        let columns = columns.await.unwrap_or_default();
        let outcome = async move {
            Ok::<_, wasmtime::Error>(outcome.await.unwrap_or_else(|lost| Err(host_failed(lost))))
        };
        accessor.with(|mut access| {
            let rows = StreamReader::new(&mut access, rows).map_err(host_failed)?;
            let outcome = FutureReader::new(&mut access, outcome).map_err(host_failed)?;
            Ok((columns, rows, outcome))
        })
    }

    async fn execute_async(
        accessor: &Accessor<T, Self>,
        connection: Resource<Connection>,
        statement: String,
        parameters: Vec<ParameterValue>,
    ) -> Result<u64, Error> {
        let session = accessor.with(|mut access| access.get().session(&connection))?;
        execute(&session, &statement, parameters).await
    }
}

async fn open<T: Send>(
    accessor: &Accessor<T, HasSelf<Guest>>,
    builder: ConnectionBuilder,
) -> Result<Resource<Connection>, Error> {
    let app = accessor.with(|mut access| access.get().app.clone());
    let connection = connect(builder, &app).await?;
    accessor
        .with(|mut access| access.get().table.push(connection))
        .map_err(host_failed)
}

async fn execute(
    session: &Session,
    statement: &str,
    parameters: Vec<ParameterValue>,
) -> Result<u64, Error> {
    let parameters = types::parameters(parameters)
        .map_err(|e| Error::ValueConversionFailed(error::causes(&e)))?;
    let mut stream = Box::pin(start(session, statement, parameters).await?);
    let result = loop {
        match stream.try_next().await {
            Ok(Some(_)) => {}
            last => break last,
        }
    };
    session.ended(result.as_ref().err());
    result.map_err(error::query_failed)?;
    Ok(stream.rows_affected().unwrap_or(0))
}

async fn query(
    session: &Session,
    statement: &str,
    parameters: Vec<ParameterValue>,
) -> Result<RowSet, Error> {
    let mut stream = Box::pin(start_query(session, statement, parameters).await?);
    let mut set = RowSet {
        columns: Vec::new(),
        rows: Vec::new(),
    };
    let mut bytes = 0;
    loop {
        let row = match stream.try_next().await {
            Ok(Some(row)) => row,
            last => {
                session.ended(last.as_ref().err());
                return last.map(|_| set).map_err(midway);
            }
        };
        bytes += row.raw_size_bytes();
        if set.rows.is_empty() {
            set.columns = types::columns(&row);
        }
        set.rows.push(convert(&row, bytes)?);
    }
}

/// Converts an error that occurs while rows are read. Spin's blocking query reports such an error as text only.
fn midway(error: tokio_postgres::Error) -> Error {
    error::query_text(error::query_failed(error).to_string())
}

async fn start_query(
    session: &Session,
    statement: &str,
    parameters: Vec<ParameterValue>,
) -> Result<RowStream, Error> {
    let parameters =
        types::parameters(parameters).map_err(|e| Error::BadParameter(error::causes(&e)))?;
    start(session, statement, parameters).await
}

/// Sends a statement. If sending succeeds, the caller must call [`Session::ended`] at the end of the stream.
async fn start(
    session: &Session,
    statement: &str,
    parameters: Vec<types::Parameter>,
) -> Result<RowStream, Error> {
    let client = session.begin(statement);
    let result = match prepared(client, statement).await {
        Ok(prepared) => client.query_raw(&prepared, borrowed(&parameters)).await,
        Err(error) => Err(error),
    };
    let result = match result {
        Err(error) if is_stale(&error) => {
            client.statement_cache.clear();
            client.query_raw(statement, parameters).await
        }
        result => result,
    };
    result.map_err(|error| {
        session.ended(Some(&error));
        error::query_failed(error)
    })
}

fn borrowed(parameters: &[types::Parameter]) -> impl ExactSizeIterator<Item = &(dyn ToSql + Sync)> {
    parameters
        .iter()
        .map(|parameter| &**parameter as &(dyn ToSql + Sync))
}

/// Returns the statement from the connection's cache, or prepares it. Spin has no such cache. It prepares the statement again for every query,
/// which costs a round trip and PostgreSQL's parsing.
async fn prepared(client: &Object, statement: &str) -> Result<Statement, tokio_postgres::Error> {
    if client.statement_cache.size() >= MAX_PREPARED {
        client.statement_cache.clear();
    }
    let result = client.prepare_cached(statement).await;
    if result.is_err() {
        // Without this call, a statement that couldn't be prepared would stay in the cache without being counted.
        client.statement_cache.remove(statement, &[]);
    }
    result
}

/// Returns whether a prepared statement has become unusable and nothing has run yet. Either its table has changed ("cached plan must not change
/// result type"), or the guest has deallocated the statement. For a changed table, the name of PostgreSQL's routine is checked too, because a
/// function may raise the same SQLSTATE after it has run.
fn is_stale(error: &tokio_postgres::Error) -> bool {
    error.as_db_error().is_some_and(|error| {
        *error.code() == SqlState::INVALID_SQL_STATEMENT_NAME
            || *error.code() == SqlState::FEATURE_NOT_SUPPORTED
                && error.routine() == Some("RevalidateCachedQuery")
    })
}

/// Converts a row. `bytes` is the size to check: of all rows so far if the result is buffered, or of this row if rows are streamed.
fn convert(row: &PgRow, bytes: usize) -> Result<Row, Error> {
    if bytes > MAX_RESULT_BYTES {
        return Err(error::query_text(format!(
            "query result exceeds limit of {MAX_RESULT_BYTES} bytes"
        )));
    }
    types::row(row).map_err(|e| error::query_text(error::causes(&e)))
}

/// Returns an error that neither the database nor the guest has caused.
fn host_failed(error: impl std::fmt::Display) -> Error {
    Error::Other(error.to_string())
}
