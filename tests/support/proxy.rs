//! A TCP proxy between the component and PostgreSQL that misbehaves as it's told. It knows nothing of the protocol.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use reznet_edge::config::address::Address;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What the proxy does to what passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// New connections are closed at once.
    Refuse,
    /// Each piece of data comes so much later.
    Delay(Duration),
    /// Nothing passes, and nothing is closed.
    Stall,
    /// Whatever comes is lost, and nothing is closed. A connection that lost something stays dead: TCP leaves no gaps.
    Drop,
    /// Every connection is closed.
    Cut,
    /// The first connection on which so many bytes come from the server is closed then; after that it's [`Fault::None`].
    CutAfter(usize),
}

/// The proxy; it ends with the test.
pub struct Proxy {
    address: SocketAddr,
    fault: Arc<watch::Sender<Fault>>,
}

impl Proxy {
    /// In front of a server's `host:port`.
    pub async fn start(server: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port is free");
        let address = listener.local_addr().expect("it's bound");
        let fault = Arc::new(watch::Sender::new(Fault::None));
        let (faults, server) = (fault.clone(), server.to_owned());
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                if *faults.borrow() == Fault::Refuse {
                    continue;
                }
                let (faults, server) = (faults.clone(), server.clone());
                tokio::spawn(async move {
                    // A server that's away closes the client's connection too.
                    if let Ok(server) = TcpStream::connect(&server).await {
                        relay(client, server, &faults).await;
                    }
                });
            }
        });
        Self { address, fault }
    }

    /// What it does from now on.
    pub fn set(&self, fault: Fault) {
        self.fault.send_replace(fault);
    }

    /// What it does now.
    #[must_use]
    pub fn fault(&self) -> Fault {
        *self.fault.borrow()
    }

    /// The address of a database, by way of the proxy.
    #[must_use]
    pub fn url(&self, database_url: &str) -> String {
        by_way_of(self.address, database_url)
    }
}

/// The address of a database, at another `host:port`.
pub(crate) fn by_way_of(server: SocketAddr, database_url: &str) -> String {
    let address: Address = database_url.parse().expect("it's an address");
    let host = server.ip().to_string();
    address.with_server(&host, server.port()).to_url()
}

/// Passes on until one side closes, or a fault does.
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

/// Waits as long as the fault wants.
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
