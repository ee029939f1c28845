//! Limits the connections of all clients and of each address, and chooses the connection that is closed to make room.
//!
//! A connection waits for its client while the client doesn't send a request or the rest of one, or doesn't read a response. Waiting
//! connections cost the client nothing, so a client can have many of them. When there is no room for a new connection, the host closes the
//! connection that has waited longest for its client, instead of refusing the new one. The host never closes a connection while it works on the
//! connection's request.
//!
//! A client that doesn't read its responses makes the host do useless work for each new connection. At its limit, such a client can replace only
//! a limited number of its connections each second. The host refuses the client's other new connections.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap},
    io::{self, IoSlice},
    net::IpAddr,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    sync::Notify,
    time::{Instant, Sleep, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{admission::ResponsePermit, client_network::network, lock::lock, log::log};

/// The maximum time that a new connection waits for room. During this time, the host accepts no other connection.
const ROOM_TIMEOUT: Duration = Duration::from_millis(100);

/// The interval between two searches for a connection that can be closed.
const ROOM_INTERVAL: Duration = Duration::from_millis(10);

/// The minimum time between two replacements by a client that doesn't read its responses. A replacement closes an old connection for a new one.
const REPLACEMENT_INTERVAL: Duration = Duration::from_millis(20);

/// The time between two warnings about the same limit.
const WARNING_INTERVAL: Duration = Duration::from_secs(10);

/// The limits on connections, each set by a command-line flag.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections of all clients.
    pub connections: usize,
    /// Connections of one client address.
    pub connections_per_client: usize,
    /// How long a connection may wait for its client without any progress.
    pub timeout: Duration,
}

/// The variable parts of a warning: the host's action, for example `connections closed`, and the flag that sets the reached limit.
type Limit = (&'static str, &'static str);

/// All connections.
#[derive(Debug)]
pub struct Clients {
    limits: Limits,
    started: Instant,
    table: Mutex<Table>,
    ended: Notify,
}

#[derive(Debug, Default)]
struct Table {
    next_id: u64,
    /// The number of connections.
    count: usize,
    clients: HashMap<IpAddr, Client>,
    /// The highest number of connections since the last call of [`Clients::take_peak`].
    peak: usize,
    /// When each warning was last logged, and how often it was suppressed since.
    reports: HashMap<Limit, (Option<Instant>, u64)>,
}

/// The connections of one client address.
#[derive(Debug, Default)]
struct Client {
    connections: BTreeMap<u64, Arc<Connection>>,
    /// When a new connection last replaced one whose response the client didn't read.
    replaced_at: Option<Instant>,
}

/// One connection, which its [`Guard`] removes from the table.
#[derive(Debug)]
pub struct Connection {
    client: IpAddr,
    started: Instant,
    /// When the connection began to wait for its client or last sent data, in milliseconds after `started`. Received bytes don't count as
    /// activity, because a client could send a few bytes to seem busy.
    waits_since: AtomicU64,
    /// The connection's state: [`WAITING`], [`WORKING`] or [`PAUSED`].
    work: AtomicU8,
    /// Whether the client doesn't read the response.
    is_unread: AtomicBool,
    /// The permit of the response that is being sent.
    sending: Mutex<Option<ResponsePermit>>,
    /// Cancelled to close the connection.
    pub closing: CancellationToken,
}

/// The state of a connection that has no request in progress, or whose response has begun. The host may close the connection unless the
/// response has a permit.
const WAITING: u8 = 0;

/// The host works on a request.
const WORKING: u8 = 1;

/// The state in which the host waits for more of a request's body, and may close the connection. [`Connection::resumes`] changes no other
/// state, so a call after the response has begun has no effect.
const PAUSED: u8 = 2;

impl Connection {
    /// Marks that the host begins to work on a request.
    pub fn begins(&self) {
        self.work.store(WORKING, Ordering::Relaxed);
    }

    /// Marks that the host waits for the rest of a request's body.
    pub fn pauses(&self) {
        if self.changes(WORKING, PAUSED) {
            self.waits_from(self.started.elapsed());
        }
    }

    /// Marks that the host works on the request again after a pause. The call has no effect after the response has begun, even if the component
    /// still reads the body.
    pub fn resumes(&self) {
        self.changes(PAUSED, WORKING);
    }

    /// Marks that the response has begun. The connection may be closed once the response gives its permit back.
    pub fn responds(&self) {
        self.waits_from(self.started.elapsed());
        self.work.store(WAITING, Ordering::Relaxed);
    }

    fn changes(&self, from: u8, to: u8) -> bool {
        let order = Ordering::Relaxed;
        self.work.compare_exchange(from, to, order, order).is_ok()
    }

    fn is_working(&self) -> bool {
        self.work.load(Ordering::Relaxed) == WORKING
    }

    /// Whether the host neither works on a request nor sends a response that the client reads.
    fn waits_for_client(&self) -> bool {
        !self.is_working() && !self.has_permit()
    }

    /// Keeps the permit of a request while the body of its response is sent.
    pub fn keep_permit(&self, permit: ResponsePermit) {
        *lock(&self.sending) = Some(permit);
    }

    /// Gives back the permit of a response that is complete or has to wait.
    pub fn release_permit(&self) {
        let permit = lock(&self.sending).take();
        // Drops the permit after unlocking `sending`, because dropping the permit may let another request begin.
        drop(permit);
    }

    /// Whether the response has a permit.
    pub fn has_permit(&self) -> bool {
        lock(&self.sending).is_some()
    }

    /// Marks that the client doesn't read the response, and gives back the response's permit.
    fn mark_unread(&self) {
        self.is_unread.store(true, Ordering::Relaxed);
        self.release_permit();
    }

    /// Marks that a part of the response was sent.
    fn wrote(&self) {
        self.is_unread.store(false, Ordering::Relaxed);
        if !self.is_working() {
            self.waits_from(self.started.elapsed());
        }
    }

    fn waits_from(&self, time: Duration) {
        let ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        self.waits_since.store(ms, Ordering::Relaxed);
    }
}

/// Owns a connection's entry in the table. Dropping the guard removes the entry.
#[derive(Debug)]
pub struct Guard {
    clients: Arc<Clients>,
    id: u64,
    /// The connection.
    pub connection: Arc<Connection>,
}

impl Drop for Guard {
    fn drop(&mut self) {
        lock(&self.clients.table).remove(self.connection.client, self.id);
        self.clients.ended.notify_one();
    }
}

impl Table {
    fn remove(&mut self, client: IpAddr, id: u64) {
        let Some(of_client) = self.clients.get_mut(&client) else {
            return;
        };
        if of_client.connections.remove(&id).is_some() {
            self.count -= 1;
        }
        if of_client.connections.is_empty() {
            self.clients.remove(&client);
        }
    }

    /// Closes a waiting connection to make room for a new connection of `newcomer`. The candidates are `newcomer` and, if `any` is true, every
    /// client with more connections. So a client with many connections can't displace one with few. Of the candidates that have a waiting
    /// connection, the one with the most connections loses its longest-waiting connection. Returns false if no connection can be closed.
    ///
    /// After `newcomer` has replaced a connection whose response it didn't read, its other connections with unread responses can't be replaced
    /// for [`REPLACEMENT_INTERVAL`].
    fn make_room(&mut self, newcomer: IpAddr, any: bool) -> bool {
        let now = Instant::now();
        let own = self.count(newcomer);
        let replaced_at = self.clients.get(&newcomer).and_then(|it| it.replaced_at);
        let is_limited =
            replaced_at.is_some_and(|at| now.duration_since(at) < REPLACEMENT_INTERVAL);
        let mut candidates: Vec<_> = self
            .clients
            .iter()
            .map(|(client, it)| (Reverse(it.connections.len()), *client))
            .filter(|(Reverse(count), client)| *client == newcomer || any && *count > own)
            .collect();
        candidates.sort_unstable();
        for (_, client) in candidates {
            let skips_unread = is_limited && client == newcomer;
            let Some(of_client) = self.clients.get_mut(&client) else {
                continue;
            };
            let closable = of_client.connections.iter().filter(|(_, connection)| {
                let is_unread = || connection.is_unread.load(Ordering::Relaxed);
                connection.waits_for_client() && !(skips_unread && is_unread())
            });
            let longest = closable.min_by_key(|(id, connection)| {
                (connection.waits_since.load(Ordering::Relaxed), **id)
            });
            let Some((id, connection)) = longest else {
                continue;
            };
            let id = *id;
            connection.closing.cancel();
            if client == newcomer && connection.is_unread.load(Ordering::Relaxed) {
                of_client.replaced_at = Some(now);
            }
            self.remove(client, id);
            return true;
        }
        false
    }

    /// The number of a client's connections.
    fn count(&self, client: IpAddr) -> usize {
        self.clients
            .get(&client)
            .map_or(0, |it| it.connections.len())
    }

    /// Whether no other client has more connections than this one.
    fn is_largest(&self, client: IpAddr) -> bool {
        let own = self.count(client);
        self.clients.values().all(|it| it.connections.len() <= own)
    }

    /// Counts that a limit was reached once more. If a warning is due, returns how often the limit was reached since the last warning.
    fn report(&mut self, limit: Limit) -> Option<u64> {
        let (logged_at, count) = self.reports.entry(limit).or_default();
        *count += 1;
        if logged_at.is_some_and(|at| at.elapsed() < WARNING_INTERVAL) {
            return None;
        }
        *logged_at = Some(Instant::now());
        Some(std::mem::take(count))
    }

    /// Logs the host's action at a limit, unless the same warning was logged recently.
    fn warn(&mut self, done: &'static str, limit: &'static str) {
        if let Some(count) = self.report((done, limit)) {
            log!("warning: clients reached {limit}: {count} {done} since the last such line");
        }
    }
}

impl Clients {
    /// Creates a table that contains no connections yet.
    pub fn new(limits: Limits) -> Arc<Self> {
        Arc::new(Self {
            limits,
            started: Instant::now(),
            table: Mutex::default(),
            ended: Notify::new(),
        })
    }

    /// How long a connection may wait for its client.
    pub fn timeout(&self) -> Duration {
        self.limits.timeout
    }

    /// Makes room for one more connection of a client. If the host is full, closes a waiting connection, or waits at most [`ROOM_TIMEOUT`] for
    /// a connection to end. Returns false if the host must refuse the client.
    pub async fn wait_for_room(&self, client: IpAddr) -> bool {
        let client = network(client);
        let until = Instant::now() + ROOM_TIMEOUT;
        loop {
            {
                let mut table = lock(&self.table);
                if table.count < self.limits.connections {
                    return true;
                }
                if table.make_room(client, true) {
                    table.warn("connections closed", "--max-connections");
                    return true;
                }
                if table.is_largest(client) || Instant::now() >= until {
                    table.warn("connections refused with 503", "--max-connections");
                    return false;
                }
            }
            // Waits until a connection ends, but at most `ROOM_INTERVAL`, because nothing notifies the host when a connection begins to wait for
            // its client.
            let _ = timeout(ROOM_INTERVAL, self.ended.notified()).await;
        }
    }

    /// Adds a connection. Returns `None` if the client has too many connections and none of them can be closed.
    pub fn add(self: &Arc<Self>, client: IpAddr) -> Option<Guard> {
        let client = network(client);
        let mut table = lock(&self.table);
        if table.count(client) >= self.limits.connections_per_client {
            let limit = "--max-connections-per-client";
            if !table.make_room(client, false) {
                table.warn("connections refused with 503", limit);
                return None;
            }
            table.warn("connections closed", limit);
        }
        let id = table.next_id;
        table.next_id += 1;
        let connection = Arc::new(Connection {
            client,
            started: self.started,
            waits_since: AtomicU64::default(),
            work: AtomicU8::new(WAITING),
            is_unread: AtomicBool::default(),
            sending: Mutex::default(),
            closing: CancellationToken::new(),
        });
        connection.waits_from(self.started.elapsed());
        let of_client = table.clients.entry(client).or_default();
        of_client.connections.insert(id, connection.clone());
        table.count += 1;
        table.peak = table.peak.max(table.count);
        drop(table);
        Some(Guard {
            clients: self.clone(),
            id,
            connection,
        })
    }

    /// Returns the number of connections, and the highest number since the last call.
    pub fn take_peak(&self) -> (usize, usize) {
        let mut table = lock(&self.table);
        let now = table.count;
        (now, std::mem::replace(&mut table.peak, now))
    }
}

/// A client's socket. A write fails if the client reads nothing for the time in [`Limits::timeout`].
#[derive(Debug)]
pub struct Stream {
    socket: TcpStream,
    timeout: Duration,
    connection: Arc<Connection>,
    /// The timer for the failure of a write, set while the client doesn't read.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl Stream {
    /// Wraps the socket of a connection.
    pub fn new(socket: TcpStream, guard: &Guard) -> Self {
        Self {
            socket,
            timeout: guard.clients.limits.timeout,
            connection: guard.connection.clone(),
            stalled: None,
        }
    }

    fn written(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if written.is_ready() {
            self.stalled = None;
            self.connection.wrote();
            return written;
        }
        self.connection.mark_unread();
        let timeout = self.timeout;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(timeout)));
        match stalled.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(context, buffer)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write(context, bytes);
        self.written(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write_vectored(context, parts);
        self.written(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clients(connections: usize, connections_per_client: usize) -> Arc<Clients> {
        Clients::new(Limits {
            connections,
            connections_per_client,
            timeout: Duration::from_secs(30),
        })
    }

    fn address(last: u8) -> IpAddr {
        IpAddr::from([127, 0, 0, last])
    }

    #[test]
    fn a_client_at_its_limit_loses_its_longest_waiting_connection() {
        let clients = clients(10, 2);
        let one = clients.add(address(1)).unwrap();
        let two = clients.add(address(1)).unwrap();
        let other = clients.add(address(2)).unwrap();
        one.connection.waits_from(Duration::from_millis(20));
        two.connection.waits_from(Duration::from_millis(10));
        other.connection.waits_from(Duration::from_millis(0));
        let three = clients.add(address(1)).unwrap();
        assert!(two.connection.closing.is_cancelled());
        for kept in [&one, &other, &three] {
            assert!(!kept.connection.closing.is_cancelled());
        }
    }

    #[test]
    fn a_connection_with_a_request_in_progress_is_not_closed() {
        let clients = clients(10, 1);
        let one = clients.add(address(1)).unwrap();
        one.connection.begins();
        assert!(clients.add(address(1)).is_none());
        one.connection.responds();
        assert!(clients.add(address(1)).is_some());
        assert!(one.connection.closing.is_cancelled());
    }

    #[test]
    fn a_connection_with_a_paused_request_may_be_closed() {
        let clients = clients(10, 1);
        let one = clients.add(address(1)).unwrap();
        one.connection.begins();
        one.connection.pauses();
        assert!(!one.connection.is_working());
        one.connection.resumes();
        assert!(one.connection.is_working());
        // The component still reads the request's body after the response has begun.
        one.connection.responds();
        for _ in 0..2 {
            one.connection.pauses();
            one.connection.resumes();
            assert!(!one.connection.is_working());
        }
    }

    #[test]
    fn connection_replacement_is_rate_limited_for_a_client_that_does_not_read() {
        let clients = clients(10, 2);
        let [one, two] = [1, 1].map(|last| clients.add(address(last)).unwrap());
        for guard in [&one, &two] {
            guard.connection.mark_unread();
        }
        let three = clients.add(address(1)).unwrap();
        assert!(one.connection.closing.is_cancelled());
        three.connection.mark_unread();
        // Uses a time in the future, so that the test doesn't depend on its own speed.
        let replaced_at = Instant::now() + Duration::from_mins(1);
        let mut table = lock(&clients.table);
        table.clients.get_mut(&address(1)).unwrap().replaced_at = Some(replaced_at);
        drop(table);
        assert!(clients.add(address(1)).is_none());
        assert!(!two.connection.closing.is_cancelled());
        // The rate limit applies only to connections with unread responses. A connection whose response the client reads can be replaced at any
        // time, even if a connection with an unread response has waited longer.
        two.connection.wrote();
        assert!(clients.add(address(1)).is_some());
        assert!(two.connection.closing.is_cancelled());
    }

    #[tokio::test]
    async fn the_client_with_the_most_connections_loses_one_to_a_new_client() {
        let clients = clients(3, 3);
        let lone = clients.add(address(1)).unwrap();
        let many = [2, 2].map(|last| clients.add(address(last)).unwrap());
        lone.connection.waits_from(Duration::from_millis(0));
        many[0].connection.waits_from(Duration::from_millis(20));
        many[1].connection.waits_from(Duration::from_millis(10));
        assert!(clients.wait_for_room(address(3)).await);
        assert!(many[1].connection.closing.is_cancelled());
        assert!(!lone.connection.closing.is_cancelled());
    }

    #[tokio::test]
    async fn a_new_connection_waits_briefly_if_no_connection_can_be_closed() {
        let clients = clients(1, 1);
        let one = clients.add(address(1)).unwrap();
        one.connection.begins();
        assert!(
            !clients.wait_for_room(address(1)).await,
            "the largest client is refused"
        );
        // `add` doesn't check the total number of connections. The host works on both connections, so neither of them can be closed.
        let two = clients.add(address(2)).unwrap();
        two.connection.begins();
        let waiting = Instant::now();
        assert!(!clients.wait_for_room(address(3)).await);
        assert!(waiting.elapsed() >= ROOM_TIMEOUT);
        drop(two);
        drop(one);
        let room = tokio::time::timeout(Duration::from_secs(5), clients.wait_for_room(address(2)));
        assert_eq!(room.await, Ok(true));
        assert!(lock(&clients.table).clients.is_empty());
    }

    #[tokio::test]
    async fn a_client_with_more_connections_never_displaces_one_with_fewer() {
        let clients = clients(3, 3);
        let small = clients.add(address(1)).unwrap();
        let large = [2, 2].map(|last| clients.add(address(last)).unwrap());
        for guard in &large {
            guard.connection.begins();
        }
        small.connection.waits_from(Duration::ZERO);
        assert!(!clients.wait_for_room(address(2)).await);
        assert!(!small.connection.closing.is_cancelled());
    }

    #[tokio::test]
    async fn warnings_about_one_limit_are_rate_limited() {
        let mut table = Table::default();
        assert_eq!(table.report(("a", "")), Some(1));
        assert_eq!(table.report(("a", "")), None);
        assert_eq!(table.report(("b", "")), Some(1));
        table.reports.get_mut(&("a", "")).unwrap().0 = Some(Instant::now() - 2 * WARNING_INTERVAL);
        assert_eq!(table.report(("a", "")), Some(2));
    }
}
