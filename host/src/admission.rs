//! Limits the number of requests that component instances process at the same time. Each of these requests has a permit.
//!
//! If the CPU is saturated, admitting more than a few requests for each core doesn't raise the throughput. Concurrent requests also evict each
//! other's memory from the CPU's caches, so 100 of them reduce the requests/s by a third. If requests wait for something else, such as a slow
//! database or a slow client, all of them should be admitted. So the number of permits follows the CPU's load. While a request runs, a timer
//! fires every [`MOMENT`]. If the timer fires on time, the CPU is free, and a permit is added if requests wait for one. If the timer fires
//! late, the CPU is saturated, and the number of permits is reduced by one.
//!
//! Clients take turns: a free permit goes to the next client that waits, not to the request that has waited longest.
//!
//! A request has no permit while it waits for its client to send the body, because slow clients would otherwise keep all others out. A response
//! keeps its request's permit until the kernel has accepted the whole body. The response gives the permit back earlier if its client doesn't
//! read, if its component produces nothing for [`MOMENT`], or if the body takes more than 100 ms.
//!
//! The module depends neither on HTTP nor on components.

use std::{
    collections::{HashMap, VecDeque},
    net::IpAddr,
    pin::{Pin, pin},
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::Duration,
};

use futures_util::future::BoxFuture;
use tokio::{
    runtime::Handle,
    sync::{Notify, oneshot},
    time::{Instant, sleep_until},
};

use crate::{client_network::network, lock::lock};

/// The maximum number of permits, which is also the maximum number of instances.
const MOST: usize = crate::engine::MAX_INSTANCES as usize;

/// A request that takes less time than this doesn't change the number of permits. A response gives its permit back after its component has
/// produced nothing for this long.
pub const MOMENT: Duration = Duration::from_millis(5);

/// A timer that fires later than planned by this much shows that the CPU is saturated. Timers have a resolution of one millisecond.
const LATE: Duration = Duration::from_millis(2);

/// The minimum time between two additions of a permit. Faster growth would add far too many permits before a timer fires late.
const GROWTH: Duration = Duration::from_millis(1);

/// The permits of one lane.
#[derive(Clone, Debug)]
pub struct Admission(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    least: usize,
    count: Mutex<Count>,
}

#[derive(Debug)]
struct Count {
    /// The number of permits.
    permits: usize,
    /// The number of permits in use, which may exceed `permits` for a while after `permits` was reduced.
    taken: usize,
    grown_at: Instant,
    /// The waiting requests of each client.
    waiting: HashMap<IpAddr, VecDeque<oneshot::Sender<Permit>>>,
    /// The clients that have waiting requests, in the order of their turns.
    turns: VecDeque<IpAddr>,
}

impl Admission {
    /// Starts with `least` permits, at most [`MOST`]. The number of permits never falls below the number at the start.
    pub fn at_least(least: usize) -> Self {
        let least = least.min(MOST);
        Self(Arc::new(Shared {
            least,
            count: Mutex::new(Count {
                permits: least,
                taken: 0,
                grown_at: Instant::now(),
                waiting: HashMap::new(),
                turns: VecDeque::new(),
            }),
        }))
    }

    /// Registers a client's request, which has no permit yet.
    pub fn request(&self, client: IpAddr) -> RequestPermit {
        RequestPermit(Arc::new(Request {
            shared: self.0.clone(),
            client: network(client),
            state: Mutex::new(State::Waiting),
            reacquired: Notify::new(),
        }))
    }
}

/// A registered request, with or without a permit. The request can give its permit back while it waits for its client.
#[derive(Clone, Debug)]
pub struct RequestPermit(Arc<Request>);

#[derive(Debug)]
struct Request {
    shared: Arc<Shared>,
    client: IpAddr,
    state: Mutex<State>,
    reacquired: Notify,
}

#[derive(Debug)]
enum State {
    /// The request has no permit. It waits for its first permit, or has given its permit back while it waits for its client.
    Waiting,
    Admitted(#[expect(dead_code, reason = "dropping it gives the permit back")] Permit),
    /// The response has given the permit back for good.
    Ended,
}

impl RequestPermit {
    /// Waits for a permit, runs `work`, and returns the output and the permit, which the response then keeps.
    ///
    /// `work` runs to its end and keeps the permit even if the client disconnects, because the instance continues to process the request.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> (T, ResponsePermit) {
        self.acquire(false).await;
        let request = self.clone();
        let working = async move {
            let mut work = pin!(work);
            let output = loop {
                let due = Instant::now() + MOMENT;
                let is_admitted = matches!(*lock(&request.0.state), State::Admitted(_));
                tokio::select! {
                    biased;
                    output = &mut work => break output,
                    () = sleep_until(due), if is_admitted => request.0.shared.adapt(due.elapsed() < LATE),
                    () = request.0.reacquired.notified(), if !is_admitted => {}
                }
            };
            (output, ResponsePermit(request))
        };
        RunToEnd(Some(Box::pin(working))).await
    }

    /// Gives the permit back while the request waits for its client. Returns true if the request had a permit.
    pub fn release(&self) -> bool {
        let mut state = lock(&self.0.state);
        let is_admitted = matches!(*state, State::Admitted(_));
        if is_admitted {
            *state = State::Waiting;
        }
        is_admitted
    }

    /// Waits for a permit again, at the front of its client's queue. A large body arrives in many parts. At the back of the queue, the request
    /// would wait for all other requests of the client after each part.
    pub fn reacquire(&self) -> BoxFuture<'static, ()> {
        let request = self.clone();
        Box::pin(async move { request.acquire(true).await })
    }

    async fn acquire(&self, again: bool) {
        let permit = Permit::take(&self.0.shared, self.0.client, again).await;
        let mut state = lock(&self.0.state);
        if matches!(*state, State::Waiting) {
            *state = State::Admitted(permit);
            self.0.reacquired.notify_one();
        }
    }
}

/// The permit of a request whose response has begun. Dropping it gives the permit back.
#[derive(Debug)]
pub struct ResponsePermit(RequestPermit);

impl Drop for ResponsePermit {
    fn drop(&mut self) {
        *lock(&self.0.0.state) = State::Ended;
    }
}

/// Work that continues in a separate task if this future is dropped before the work ends. Starting a task for every request instead would cost
/// a few percent of the requests/s.
struct RunToEnd<T: Send + 'static>(Option<BoxFuture<'static, T>>);

impl<T: Send + 'static> Future for RunToEnd<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        let polled = match &mut self.0 {
            Some(work) => work.as_mut().poll(context),
            None => Poll::Pending,
        };
        if polled.is_ready() {
            self.0 = None;
        }
        polled
    }
}

impl<T: Send + 'static> Drop for RunToEnd<T> {
    fn drop(&mut self) {
        if let (Some(work), Ok(runtime)) = (self.0.take(), Handle::try_current()) {
            runtime.spawn(work);
        }
    }
}

impl Shared {
    fn adapt(self: &Arc<Self>, cpu_is_free: bool) {
        let mut count = lock(&self.count);
        if !cpu_is_free && count.permits > self.least {
            count.permits -= 1;
        } else if cpu_is_free
            // Adds a permit only if a request waits for one. An idle host would otherwise add permits up to the maximum, and then admit all
            // requests of the next burst.
            && !count.turns.is_empty()
            && count.permits < MOST
            && count.grown_at.elapsed() > GROWTH
        {
            count.grown_at = Instant::now();
            count.permits += 1;
            drop(count);
            self.hand_out();
        }
    }

    /// Gives free permits to waiting requests. Clients take turns, so that a client with many requests doesn't make other clients wait.
    fn hand_out(self: &Arc<Self>) {
        // A permit that its intended request no longer waits for. The loop offers it to the next request.
        let mut unwanted = None;
        loop {
            let mut count = lock(&self.count);
            if unwanted.is_none() && count.taken >= count.permits {
                return;
            }
            let Some(next) = count.next() else {
                // Unlocks before `unwanted` is dropped, because dropping a permit locks.
                drop(count);
                return;
            };
            let permit = unwanted.take().unwrap_or_else(|| {
                count.taken += 1;
                Permit(self.clone())
            });
            drop(count);
            unwanted = next.send(permit).err();
        }
    }
}

impl Count {
    /// Takes the first request of the client whose turn it is.
    fn next(&mut self) -> Option<oneshot::Sender<Permit>> {
        let client = self.turns.pop_front()?;
        let requests = self.waiting.get_mut(&client)?;
        let next = requests.pop_front();
        if requests.is_empty() {
            self.waiting.remove(&client);
        } else {
            self.turns.push_back(client);
        }
        next
    }
}

/// A taken permit. Dropping it gives the permit back.
#[derive(Debug)]
struct Permit(Arc<Shared>);

impl Permit {
    async fn take(shared: &Arc<Shared>, client: IpAddr, again: bool) -> Self {
        let given = {
            let mut count = lock(&shared.count);
            if count.taken < count.permits && count.turns.is_empty() {
                count.taken += 1;
                return Self(shared.clone());
            }
            let (give, given) = oneshot::channel();
            let requests = count.waiting.entry(client).or_default();
            if again {
                requests.push_front(give);
            } else {
                requests.push_back(give);
            }
            if requests.len() == 1 {
                count.turns.push_back(client);
            }
            given
        };
        given.await.unwrap_or_else(|_| {
            // The sender was dropped without a permit. This can't happen, because unused senders are dropped only with `shared`. If it happened,
            // one permit too many would be better than a panic.
            lock(&shared.count).taken += 1;
            Self(shared.clone())
        })
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        lock(&self.0.count).taken -= 1;
        self.0.hand_out();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    impl Shared {
        fn free(&self) -> usize {
            let count = lock(&self.count);
            count.permits.saturating_sub(count.taken)
        }

        /// Adapts the number of permits as if enough time had passed since the last growth.
        fn adapt_later(self: &Arc<Self>, cpu_is_free: bool) {
            lock(&self.count).grown_at -= 2 * GROWTH;
            self.adapt(cpu_is_free);
        }
    }

    /// Returns a request that waits for a permit.
    async fn begin_to_wait(shared: &Arc<Shared>) -> Pin<Box<impl Future<Output = Permit>>> {
        let mut taking = Box::pin(Permit::take(shared, CLIENT, false));
        let waited = tokio::time::timeout(Duration::ZERO, taking.as_mut()).await;
        assert!(waited.is_err());
        taking
    }

    #[tokio::test]
    async fn the_admission_limit_rises_by_one_while_requests_wait_and_cpu_is_free() {
        let Admission(shared) = Admission::at_least(1);
        // No request waits.
        shared.adapt_later(true);
        assert_eq!(shared.free(), 1);
        let first = Permit::take(&shared, CLIENT, false).await;
        let second = begin_to_wait(&shared).await;
        let third = begin_to_wait(&shared).await;
        shared.adapt_later(true);
        shared.adapt(true);
        assert_eq!(lock(&shared.count).permits, 2);
        let second = second.await;
        shared.adapt_later(true);
        assert_eq!(lock(&shared.count).permits, 3);
        drop((first, second, third.await));
        assert_eq!(shared.free(), 3);
    }

    #[tokio::test]
    async fn the_admission_limit_falls_to_its_minimum_while_cpu_is_saturated() {
        let Admission(shared) = Admission::at_least(1);
        let one = Permit::take(&shared, CLIENT, false).await;
        let two = begin_to_wait(&shared).await;
        shared.adapt_later(true);
        let two = two.await;
        for _ in 0..3 {
            shared.adapt(false);
        }
        drop(one);
        assert_eq!(shared.free(), 0);
        drop(two);
        assert_eq!(shared.free(), 1);
        assert_eq!(lock(&shared.count).taken, 0);
    }

    #[tokio::test]
    async fn a_pending_request_frees_its_permit_for_another() {
        let permits = Admission::at_least(1);
        let (first, second) = (permits.request(CLIENT), permits.request(CLIENT));
        let waits = first.run(std::future::pending::<()>());
        let other = tokio::time::timeout(Duration::from_secs(5), second.run(async { "answer" }));
        tokio::select! {
            biased;
            _ = waits => {}
            answer = other => assert_eq!(answer.ok().map(|(text, _)| text), Some("answer")),
        }
    }

    #[tokio::test]
    async fn a_permit_is_kept_until_the_work_of_a_disconnected_client_ends() {
        let permits = Admission::at_least(1);
        let (go_on, told) = tokio::sync::oneshot::channel::<()>();
        let request = permits.request(CLIENT);
        let begun = request.run(async { drop(told.await) });
        assert!(tokio::time::timeout(MOMENT / 5, begun).await.is_err());
        assert_eq!(permits.0.free(), 0);
        drop(go_on);
        let request = permits.request(CLIENT);
        let next = tokio::time::timeout(Duration::from_secs(5), request.run(async {}));
        assert!(next.await.is_ok());
    }

    #[tokio::test]
    async fn a_request_waiting_for_its_client_has_no_permit() {
        let permits = Admission::at_least(1);
        let request = permits.request(CLIENT);
        let body = request.clone();
        let work = async move {
            assert!(body.release());
            assert!(!body.release());
            body.reacquire().await;
            assert!(body.release());
            body
        };
        let (body, permit) = request.run(work).await;
        drop(permit);
        assert_eq!(permits.0.free(), 1);
        // After the response has given its permit back, reading the rest of the request's body takes no permit.
        body.reacquire().await;
        assert!(!body.release());
        assert_eq!(permits.0.free(), 1);
    }

    #[tokio::test]
    async fn a_permit_is_kept_until_the_response_ends() {
        let permits = Admission::at_least(1);
        let request = permits.request(CLIENT);
        let ((), permit) = request.run(async {}).await;
        assert_eq!(permits.0.free(), 0);
        drop(permit);
        assert_eq!(permits.0.free(), 1);
        assert!(!request.release());
    }

    #[tokio::test]
    async fn clients_are_admitted_round_robin() {
        let Admission(shared) = Admission::at_least(1);
        let permit = Permit::take(&shared, CLIENT, false).await;
        let other = IpAddr::from([127, 0, 0, 2]);
        let order = Arc::new(Mutex::new(Vec::new()));
        let waiting = [CLIENT, CLIENT, CLIENT, other].map(|client| {
            let (shared, order) = (shared.clone(), order.clone());
            async move {
                let _permit = Permit::take(&shared, client, false).await;
                order.lock().unwrap().push(client);
            }
        });
        let give_back = async { drop(permit) };
        tokio::join!(futures_util::future::join_all(waiting), give_back);
        assert_eq!(*order.lock().unwrap(), [CLIENT, other, CLIENT, CLIENT]);
        assert_eq!(shared.free(), 1);
        assert!(lock(&shared.count).waiting.is_empty());
    }

    #[tokio::test]
    async fn a_resumed_request_is_admitted_before_new_requests() {
        let Admission(shared) = Admission::at_least(1);
        let permit = Permit::take(&shared, CLIENT, false).await;
        let order = Arc::new(Mutex::new(Vec::new()));
        let waiting = [false, false, true].map(|again| {
            let (shared, order) = (shared.clone(), order.clone());
            async move {
                let _permit = Permit::take(&shared, CLIENT, again).await;
                order.lock().unwrap().push(again);
            }
        });
        let give_back = async { drop(permit) };
        tokio::join!(futures_util::future::join_all(waiting), give_back);
        assert_eq!(*order.lock().unwrap(), [true, false, false]);
    }

    #[tokio::test]
    async fn an_abandoned_request_takes_no_permit() {
        let Admission(shared) = Admission::at_least(1);
        let permit = Permit::take(&shared, CLIENT, false).await;
        let gone = tokio::time::timeout(MOMENT, Permit::take(&shared, CLIENT, false));
        assert!(gone.await.is_err());
        drop(permit);
        assert_eq!(shared.free(), 1);
    }
}
