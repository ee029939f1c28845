//! Assigns each request to a lane: health check, large body or ordinary. Each lane has its own [`Admission`], so a flood in one lane doesn't
//! use up the permits of another.

use std::thread;

use http::{Method, Request};
use hyper::body::Body;

use crate::admission::Admission;

/// The maximum size of a body in the ordinary lane. The bodies of usual requests are smaller. The value is a guess, not the result of a
/// measurement.
const LARGE_BODY_BYTES: u64 = 64 * 1024;

/// The class of a request, which determines the request's permits and instances.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// Requests that belong to neither of the other lanes.
    Ordinary,
    /// Requests with a body that is large or of unknown size. They have separate instances, because an instance that checks a large body can't
    /// process its other requests meanwhile.
    Large,
    /// GET and HEAD requests that are for the health path and have no large body. They have separate permits and instances, because an
    /// orchestrator restarts a host that doesn't answer health checks.
    Health,
}

impl Lane {
    /// Returns the lane of a request.
    pub fn of<B: Body>(request: &Request<B>, health_path: &str) -> Self {
        let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
        let size = request.body().size_hint().upper();
        if size.is_none_or(|bytes| bytes > LARGE_BODY_BYTES) {
            Self::Large
        } else if is_read && request.uri().path() == health_path {
            Self::Health
        } else {
            Self::Ordinary
        }
    }
}

/// A value for each lane.
#[derive(Clone, Debug)]
pub struct ByLane<T> {
    /// The value for [`Lane::Ordinary`].
    pub ordinary: T,
    /// The value for [`Lane::Large`].
    pub large: T,
    /// The value for [`Lane::Health`].
    pub health: T,
}

impl<T> ByLane<T> {
    /// Returns the value for a lane.
    pub fn of(&self, lane: Lane) -> &T {
        match lane {
            Lane::Ordinary => &self.ordinary,
            Lane::Large => &self.large,
            Lane::Health => &self.health,
        }
    }
}

/// Creates the permits of each lane. The initial number, which is also the minimum, depends on the number of cores.
pub fn admission() -> ByLane<Admission> {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    ByLane {
        // In measurements, the throughput was the same with 4 to 16 permits for each core.
        ordinary: Admission::at_least(cores.saturating_mul(8)),
        // While the CPU is saturated, requests with large bodies use at most half of the cores, rounded up. On two or more cores, this leaves
        // at least one core to other requests.
        large: Admission::at_least(cores.div_ceil(2)),
        health: Admission::at_least(cores),
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use bytes::Bytes;
    use futures_util::stream::empty;
    use http_body_util::{Full, StreamBody};
    use hyper::body::Frame;

    use super::*;

    fn lane<B: Body>(method: Method, path: &str, body: B) -> Lane {
        let request = Request::builder().method(method).uri(path).body(body);
        Lane::of(&request.unwrap(), "/api/health")
    }

    #[test]
    fn the_lane_depends_on_method_path_and_body_size() {
        let of_size = |bytes| Full::new(Bytes::from(vec![b'a'; bytes]));
        let of_unknown_size = StreamBody::new(empty::<Result<Frame<Bytes>, Infallible>>());
        let get = |path| lane(Method::GET, path, of_size(0));
        assert_eq!(get("/api/agents"), Lane::Ordinary);
        assert_eq!(get("/api/health?a=b"), Lane::Health);
        assert_eq!(lane(Method::HEAD, "/api/health", of_size(0)), Lane::Health);
        let post = |path, bytes| lane(Method::POST, path, of_size(bytes));
        assert_eq!(post("/api/health", 0), Lane::Ordinary);
        assert_eq!(post("/api/tasks", 64 * 1024), Lane::Ordinary);
        assert_eq!(post("/api/tasks", 64 * 1024 + 1), Lane::Large);
        assert_eq!(lane(Method::POST, "/", of_unknown_size), Lane::Large);
    }
}
