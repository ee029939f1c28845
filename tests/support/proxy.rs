//! A TCP proxy between the component and PostgreSQL that causes network faults on request. The proxy doesn't parse the protocol.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use reznet_edge::config::address::Address;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// How the proxy treats the connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Forwards all data.
    None,
    /// Closes new connections at once.
    Refuse,
    /// Forwards each piece of data after this delay.
    Delay(Duration),
    /// Forwards nothing and closes nothing.
    Stall,
    /// Discards all data and closes nothing. A connection that has lost data forwards nothing more, even under another fault, because TCP
    /// delivers no data after a gap.
    Drop,
    /// Closes every connection.
    Cut,
    /// Closes the first connection on which the server has sent this many bytes, and then sets the fault to [`Fault::None`].
    CutAfter(usize),
}

/// A running proxy. It stops when the test's Tokio runtime ends.
pub struct Proxy {
    address: SocketAddr,
    fault: Arc<watch::Sender<Fault>>,
}

impl Proxy {
    /// Starts a proxy for a server's `host:port`.
    pub async fn start(server: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port is free");
        let address = listener.local_addr().expect("the listener is bound");
        let fault = Arc::new(watch::Sender::new(Fault::None));
        let (faults, server) = (fault.clone(), server.to_owned());
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                if *faults.borrow() == Fault::Refuse {
                    continue;
                }
                let (faults, server) = (faults.clone(), server.clone());
                tokio::spawn(async move {
                    // If the server is down, `client` is dropped here, which closes the client's connection.
                    if let Ok(server) = TcpStream::connect(&server).await {
                        relay(client, server, &faults).await;
                    }
                });
            }
        });
        Self { address, fault }
    }

    /// Sets the current fault.
    pub fn set(&self, fault: Fault) {
        self.fault.send_replace(fault);
    }

    /// Returns the current fault.
    #[must_use]
    pub fn fault(&self) -> Fault {
        *self.fault.borrow()
    }

    /// Returns a database's address through the proxy.
    #[must_use]
    pub fn url(&self, database_url: &str) -> String {
        by_way_of(self.address, database_url)
    }
}

/// Returns a database's address, with another `host:port`.
pub(crate) fn by_way_of(server: SocketAddr, database_url: &str) -> String {
    let address: Address = database_url.parse().expect("the URL is valid");
    let host = server.ip().to_string();
    address.with_server(&host, server.port()).to_url()
}

/// Forwards data until one side or a fault closes the connection.
async fn relay(client: TcpStream, server: TcpStream, faults: &watch::Sender<Fault>) {
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (mut client_read, mut client_write) = client.into_split();
    let (mut server_read, mut server_write) = server.into_split();
    let mut cut = faults.subscribe();
    let is_dead = AtomicBool::new(false);
    let up = async {
        let mut buffer = vec![0; 16 * 1024];
        loop {
            let count = client_read.read(&mut buffer).await?;
            if count == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            hold_up(faults).await;
            is_dead.fetch_or(*faults.borrow() == Fault::Drop, Ordering::Relaxed);
            if !is_dead.load(Ordering::Relaxed) {
                server_write.write_all(&buffer[..count]).await?;
            }
        }
    };
    let down = async {
        let mut buffer = vec![0; 16 * 1024];
        let (mut passed, mut since) = (0, Fault::None);
        loop {
            let count = server_read.read(&mut buffer).await?;
            if count == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            hold_up(faults).await;
            let fault = *faults.borrow();
            if is_dead.fetch_or(fault == Fault::Drop, Ordering::Relaxed) || fault == Fault::Drop {
                continue;
            }
            if fault != since {
                (passed, since) = (0, fault);
            }
            passed += count;
            if let Fault::CutAfter(limit) = fault
                && passed >= limit
            {
                let fits = count.saturating_sub(passed - limit);
                client_write.write_all(&buffer[..fits]).await?;
                faults.send_replace(Fault::None);
                return Err(ErrorKind::ConnectionAborted.into());
            }
            client_write.write_all(&buffer[..count]).await?;
        }
    };
    let _: Result<(), std::io::Error> = tokio::select! {
        ended = up => ended,
        ended = down => ended,
        _ = cut.wait_for(|fault| *fault == Fault::Cut) => Ok(()),
    };
}

/// Delays data as the current fault requires: for the time of [`Fault::Delay`], or until [`Fault::Stall`] ends.
async fn hold_up(faults: &watch::Sender<Fault>) {
    let fault = *faults.borrow();
    match fault {
        Fault::Delay(delay) => tokio::time::sleep(delay).await,
        Fault::Stall => {
            let _ = faults
                .subscribe()
                .wait_for(|fault| *fault != Fault::Stall)
                .await;
        }
        _ => {}
    }
}
