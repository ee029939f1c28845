//! Starts, limits and ends the instances of components. wasmtime's `ProxyHandler` manages the instances, as in Spin. This module contains the
//! settings of the `ProxyHandler`, and the shutdown.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Sleep, sleep, sleep_until},
};
use tokio_util::{
    sync::{CancellationToken, WaitForCancellationFutureOwned},
    task::{TaskTracker, task_tracker::TaskTrackerToken},
};
use wasmtime::{Store, StoreContextMut, UpdateDeadline, component::GuestTaskId};
use wasmtime_wasi_http::{
    WasiHttpView,
    handler::{
        HandlerState, Instance, Proxy, ShouldAccept, WorkerExpiration, WorkerState, WorkerStatus,
    },
    p3::bindings::ServicePre,
};

use crate::{
    engine::MAX_INSTANCES,
    guest::{App, Guest},
    log::log,
};

/// A duration that is long enough to mean "never", and short enough to add to the current time.
const NEVER: Duration = Duration::from_hours(24 * 365 * 30);

/// How many ticks a guest may compute without a pause; 300 ticks are 3 s. While the guest computes, requests queue for its instance although
/// another instance could take them. Without a limit, an endless loop would block these requests forever.
const MAX_TICKS: u32 = 300;

/// An instance that is older than this multiple of the idle timeout ends as soon as it has no work. wasmtime gives requests to idle
/// instances in turn. So without this limit, a few requests each second would keep all instances of a past burst from becoming idle for long
/// enough.
const MAX_AGE_FACTOR: u32 = 5;

/// The command line's settings for reusing instances.
#[derive(Clone, Copy, Debug)]
pub struct Reuse {
    /// The maximum number of requests that an instance serves in its life.
    pub requests: usize,
    /// The maximum number of requests that an instance serves concurrently.
    pub concurrent_requests: usize,
    /// How long an instance without work is kept.
    pub idle_timeout: Duration,
    /// How long a request may take until its response begins, and how long work after the response may take. `None` sets no limit.
    pub request_timeout: Option<Duration>,
}

/// Limits the number of instances of all components, and waits for their end at shutdown.
#[derive(Clone, Debug)]
pub struct Lifetime {
    /// One permit for each instance in the engine's pool. If the pool is full, a new instance waits for a permit. Without permits, its start
    /// would fail.
    permits: Arc<Semaphore>,
    /// Cancelled at shutdown, so that idle instances end immediately.
    pub ending: CancellationToken,
    /// Counts the live instances.
    pub alive: TaskTracker,
}

impl Lifetime {
    /// Returns a lifetime without instances, which permits [`MAX_INSTANCES`].
    pub fn new() -> Self {
        Self {
            permits: Arc::new(Semaphore::new(MAX_INSTANCES as usize)),
            ending: CancellationToken::new(),
            alive: TaskTracker::new(),
        }
    }
}

/// One component, ready to be instantiated.
#[derive(Clone)]
pub struct Instances {
    /// The component's id, for messages.
    pub component: String,
    /// The compiled and linked component.
    pub pre: ServicePre<Guest>,
    /// The data that its instances share.
    pub app: Arc<App>,
    /// See [`Reuse`].
    pub reuse: Reuse,
    /// See [`Lifetime`].
    pub lifetime: Lifetime,
}

impl HandlerState for Instances {
    type StoreData = Guest;
    type WorkerExpiration = Expiration;
    type WorkerState = Worker;

    async fn instantiate(&self) -> wasmtime::Result<Instance<Guest, Expiration, Worker>> {
        let alive = self.lifetime.alive.token();
        let permit = self.lifetime.permits.clone().acquire_owned().await?;
        let mut store = Store::new(self.pre.engine(), Guest::new(self.app.clone()));
        let ticks = Arc::new(AtomicU32::new(0));
        let counted = ticks.clone();
        store.set_epoch_deadline(1);
        // A computing guest yields at each tick, so that it can't block a thread.
        store.epoch_deadline_callback(move |_| match counted.fetch_add(1, Ordering::Relaxed) {
            0..MAX_TICKS => Ok(UpdateDeadline::Yield(1)),
            _ => Err(wasmtime::Error::msg(
                "it computed for seconds without a pause",
            )),
        });
        let proxy = Proxy::P3(self.pre.instantiate_async(&mut store).await?);
        let request_timeout = self.reuse.request_timeout.unwrap_or(NEVER).min(NEVER);
        Ok(Instance {
            store,
            proxy,
            view: Guest::http,
            expiration: Expiration {
                started: Instant::now(),
                idle_timeout: self.reuse.idle_timeout.min(NEVER),
                request_timeout,
                sleep: Box::pin(sleep(NEVER)),
                ending: Box::pin(self.lifetime.ending.clone().cancelled_owned()),
            },
            state: Worker {
                component: self.component.clone(),
                reuse: self.reuse,
                request_timeout,
                ticks,
                _alive: alive,
                _permit: permit,
            },
        })
    }
}

/// Decides when an instance ends.
pub struct Expiration {
    started: Instant,
    idle_timeout: Duration,
    request_timeout: Duration,
    sleep: Pin<Box<Sleep>>,
    ending: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl WorkerExpiration for Expiration {
    fn poll(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        status: WorkerStatus,
        start: Instant,
    ) -> Poll<()> {
        let timeout = match status {
            WorkerStatus::Requests | WorkerStatus::PostReturn => self.request_timeout,
            WorkerStatus::Idle => {
                let age_limit = self.idle_timeout.saturating_mul(MAX_AGE_FACTOR);
                let is_old = self.started.elapsed() >= age_limit;
                if is_old || self.ending.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(());
                }
                self.idle_timeout
            }
        };
        let deadline = (start + timeout).into();
        if self.sleep.deadline() != deadline {
            self.sleep.set(sleep_until(deadline));
        }
        self.sleep.as_mut().poll(cx)
    }
}

/// Decides whether an instance accepts another request, and logs the error that ended the instance.
pub struct Worker {
    component: String,
    reuse: Reuse,
    request_timeout: Duration,
    /// The number of ticks since the guest last paused. [`Worker::should_accept_request`] sets it to 0, because wasmtime calls this function
    /// only when the guest has paused.
    ticks: Arc<AtomicU32>,
    _alive: TaskTrackerToken,
    _permit: OwnedSemaphorePermit,
}

impl WorkerState for Worker {
    type StoreData = Guest;
    type RequestData = ();

    fn should_accept_request(&self, concurrent: usize, total: usize) -> ShouldAccept {
        self.ticks.store(0, Ordering::Relaxed);
        if total >= self.reuse.requests {
            ShouldAccept::Never
        } else if concurrent >= self.reuse.concurrent_requests {
            ShouldAccept::No
        } else {
            ShouldAccept::Yes
        }
    }

    fn on_request_start(
        &self,
        _: StoreContextMut<'_, Guest>,
        (): (),
        _: GuestTaskId,
    ) -> Pin<Box<dyn Future<Output = ()> + 'static + Send + Sync>> {
        Box::pin(sleep(self.request_timeout))
    }

    fn drop(&self, store: Store<Guest>, result: wasmtime::Result<()>) {
        // Drops the store first, so that the guest's last output precedes the log line.
        drop(store);
        if let Err(error) = result {
            log!(
                "error: an instance of {} ended: {}",
                self.component,
                one_line(&error)
            );
        }
    }
}

/// Returns the innermost cause of an error that fits on one line. The outermost error of wasmtime is the guest's stack trace, which has many
/// lines.
pub fn one_line(error: &wasmtime::Error) -> String {
    let causes = error.chain().map(ToString::to_string);
    let text = causes.filter(|cause| !cause.contains('\n')).last();
    text.unwrap_or_else(|| error.to_string().replace('\n', " "))
}
