//! The tower layer that profiles every request and sets the profiling headers on every response, including errors.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{HeaderMap, Request, Response};
use tower::{Layer, Service};
use uuid::Uuid;

use super::{Fleet, RequestProfile, Thresholds, headers, log};

/// Measures every request that passes, and sets `X-Process-Time`, `X-Query-Count`, `X-Query-Time`, `Server-Timing` and
/// `X-Request-Id` on its response.
///
/// Handlers find the [`RequestProfile`] in the request's extensions, as an `Arc`. If the extensions already contain a profile, the layer uses
/// that profile, so that an entry point can start the clock before it builds its service.
///
/// ```
/// use std::sync::Arc;
///
/// use axum::{Router, extract::Extension, routing::get};
/// use reznet_edge::profile::{ProfileLayer, RequestProfile, StatementRun, Thresholds};
///
/// async fn hello(Extension(profile): Extension<Arc<RequestProfile>>) -> &'static str {
///     // Code that runs a statement records it.
///     profile.record_statement(StatementRun { name: "greeting_get", elapsed_us: 450, failed: false, parameters: 0 });
///     "hello"
/// }
///
/// let app: Router = Router::new()
///     .route("/hello", get(hello))
///     .layer(ProfileLayer::new(Thresholds::default()));
/// ```
#[derive(Clone, Debug, Default)]
pub struct ProfileLayer {
    thresholds: Thresholds,
    hides_headers: bool,
    fleet: Option<Arc<Fleet>>,
}

impl ProfileLayer {
    /// Creates a layer that logs requests that reach `thresholds`.
    #[must_use]
    pub fn new(thresholds: Thresholds) -> Self {
        Self {
            thresholds,
            ..Self::default()
        }
    }

    /// Sets whether the profiling headers are hidden from requests that may not see every statement.
    #[must_use]
    pub fn hiding_headers(mut self, hides_headers: bool) -> Self {
        self.hides_headers = hides_headers;
        self
    }

    /// Records request durations for the fleet's percentiles.
    #[must_use]
    pub fn gathering(mut self, fleet: Arc<Fleet>) -> Self {
        self.fleet = Some(fleet);
        self
    }

    /// Starts the clock for a request with these headers, and gives the request an id. The id is the valid `X-Request-Id`, which a proxy may
    /// have set, else the trace id of the valid `traceparent` (<https://www.w3.org/TR/trace-context/>), else a new id.
    #[must_use]
    pub fn start(headers: &HeaderMap) -> Arc<RequestProfile> {
        let text = |name| {
            let mut values = headers.get_all(name).iter();
            let value = values.next().and_then(|value| value.to_str().ok());
            value.filter(|_| values.next().is_none())
        };
        let request_id = text("x-request-id")
            .filter(|id| is_request_id(id))
            .map(str::to_owned)
            .or_else(|| text("traceparent").and_then(trace_id))
            .unwrap_or_else(|| Uuid::new_v4().simple().to_string());
        Arc::new(RequestProfile::start(request_id))
    }
}

impl<S> Layer<S> for ProfileLayer {
    type Service = ProfileService<S>;

    fn layer(&self, inner: S) -> ProfileService<S> {
        ProfileService {
            inner,
            layer: self.clone(),
        }
    }
}

/// A service that [`ProfileLayer`] wraps.
#[derive(Clone, Debug)]
pub struct ProfileService<S> {
    inner: S,
    layer: ProfileLayer,
}

impl<S, In, Out> Service<Request<In>> for ProfileService<S>
where
    S: Service<Request<In>, Response = Response<Out>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<In>) -> Self::Future {
        let started = request.extensions().get::<Arc<RequestProfile>>().cloned();
        let profile = started.unwrap_or_else(|| ProfileLayer::start(request.headers()));
        request.extensions_mut().insert(profile.clone());
        let layer = self.layer.clone();
        let response = self.inner.call(request);
        Box::pin(async move {
            let mut response = response.await?;
            let totals = profile.totals();
            let visible = !layer.hides_headers || profile.is_detailed();
            headers::insert(response.headers_mut(), &profile, &totals, visible);
            log::request(&totals, &layer.thresholds, &profile);
            if let Some(fleet) = layer.fleet {
                fleet.gather(&profile, &totals, response.status());
            }
            Ok(response)
        })
    }
}

/// Whether the text is an id that needs no escapes in headers, logs and JSON: 1 to 128 letters, digits and `-._:+/=@`.
fn is_request_id(text: &str) -> bool {
    (1..=128).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-._:+/=@".contains(&byte))
}

/// Returns the trace id of a `traceparent` header: the field after the version, 32 hex digits that aren't all zero. Returns `None` for an
/// invalid header, because the standard says to ignore it.
fn trace_id(traceparent: &str) -> Option<String> {
    let fields: Vec<_> = traceparent.split('-').collect();
    let &[version, trace, parent, flags, ref further @ ..] = &*fields else {
        return None;
    };
    let hex = |text: &str, digits: usize| {
        text.len() == digits && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    };
    let zero = |text: &str| text.bytes().all(|b| b == b'0');
    let well_formed = hex(version, 2) && hex(trace, 32) && hex(parent, 16) && hex(flags, 2);
    // Version 00 has exactly four fields, later versions may have more, and ff is reserved.
    let known = version != "ff" && (version != "00" || further.is_empty());
    (well_formed && known && !zero(trace) && !zero(parent)).then(|| trace.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

    fn request_id(pairs: &[(&'static str, &str)]) -> String {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().unwrap());
        }
        ProfileLayer::start(&headers).request_id().to_owned()
    }

    #[test]
    fn a_valid_x_request_id_is_kept() {
        let longest = "a".repeat(128);
        for id in [
            "7f3c1c0e-6f0d-4f59-9d3c-0a8a5c0f3b11",
            "Root=1-67891233-abcdef012345678912345678",
            "a",
            &longest,
        ] {
            assert_eq!(request_id(&[("x-request-id", id)]), id);
        }
        let traceparent = format!("00-{TRACE}-00f067aa0ba902b7-01");
        let both = [("traceparent", traceparent.as_str()), ("x-request-id", "a")];
        assert_eq!(request_id(&both), "a");
    }

    #[test]
    fn an_invalid_x_request_id_is_replaced() {
        let too_long = "a".repeat(129);
        for id in ["", "a b", "a\"b", "a\tb", "a,b", "{a}", &too_long] {
            let replaced = request_id(&[("x-request-id", id)]);
            assert_eq!(replaced.len(), 32, "{id:?}: {replaced}");
        }
        let twice = [("x-request-id", "a"), ("x-request-id", "b")];
        assert_eq!(request_id(&twice).len(), 32);
        let traceparent = format!("00-{TRACE}-00f067aa0ba902b7-01");
        let both = [
            ("traceparent", traceparent.as_str()),
            ("x-request-id", "a b"),
        ];
        assert_eq!(request_id(&both), TRACE);
    }

    #[test]
    fn the_trace_id_is_read_from_a_valid_traceparent() {
        for valid in [
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
        ] {
            assert_eq!(trace_id(valid).as_deref(), Some(TRACE), "{valid}");
        }
    }

    #[test]
    fn an_invalid_traceparent_is_ignored() {
        for invalid in [
            "",
            "00",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736\n-00f067aa0ba902b7-01",
        ] {
            assert_eq!(trace_id(invalid), None, "{invalid}");
        }
    }
}
