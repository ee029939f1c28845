//! The tower layer that puts a profile around every request and its account on every response, errors included.

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
/// Handlers find the [`RequestProfile`] among the request's extensions, as an `Arc`. Where one is there already, it's
/// taken over: that's how an entry point starts the clock before it has read what it needs to build its service.
///
/// ```
/// use std::sync::Arc;
///
/// use axum::{Router, extract::Extension, routing::get};
/// use reznet_edge::profile::{ProfileLayer, RequestProfile, StatementRun, Thresholds};
///
/// async fn hello(Extension(profile): Extension<Arc<RequestProfile>>) -> &'static str {
///     // Whoever runs a statement adds it to the account.
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
    /// A layer that logs what exceeds `thresholds`.
    #[must_use]
    pub fn new(thresholds: Thresholds) -> Self {
        Self {
            thresholds,
            ..Self::default()
        }
    }

    /// Hides the account from the public: only requests that may see every statement get the headers.
    #[must_use]
    pub fn hiding_headers(mut self, hides_headers: bool) -> Self {
        self.hides_headers = hides_headers;
        self
    }

    /// Gathers what requests took for the fleet's percentiles.
    #[must_use]
    pub fn gathering(mut self, fleet: Arc<Fleet>) -> Self {
        self.fleet = Some(fleet);
        self
    }

    /// Starts the clock for a request with these headers, and gives it an id: the trace id of its `traceparent`
    /// (<https://www.w3.org/TR/trace-context/>) if it has a valid one, else a new one.
    #[must_use]
    pub fn start(headers: &HeaderMap) -> Arc<RequestProfile> {
        let trace_id = headers
            .get("traceparent")
            .and_then(|value| trace_id(value.to_str().ok()?));
        let request_id = trace_id.unwrap_or_else(|| Uuid::new_v4().simple().to_string());
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

/// What [`ProfileLayer`] makes of a service.
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
                fleet.gather(&profile, &totals, response.status().is_server_error());
            }
            Ok(response)
        })
    }
}

/// The trace id of a `traceparent` header: version, 32 hex digits that aren't all zero, and so on. Anything else is
/// ignored, as the standard asks.
fn trace_id(traceparent: &str) -> Option<String> {
    let mut fields = traceparent.split('-');
    let (version, trace, parent, flags) = (
        fields.next()?,
        fields.next()?,
        fields.next()?,
        fields.next()?,
    );
    let hex = |text: &str, digits: usize| {
        text.len() == digits && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    };
    let zero = |text: &str| text.bytes().all(|b| b == b'0');
    let well_formed = hex(version, 2) && hex(trace, 32) && hex(parent, 16) && hex(flags, 2);
    // Version 00 has exactly four fields; later ones may add more; ff is reserved.
    let known = version != "ff" && (version != "00" || fields.next().is_none());
    (well_formed && known && !zero(trace) && !zero(parent)).then(|| trace.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

    #[test]
    fn a_valid_traceparent_names_the_request() {
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
