//! Access control: checks the token of each request, and refuses requests from pages of other origins.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;

use super::browser::{foreign_host, foreign_origin};
use super::contract::{Audience, Operation};
use super::problem::ApiError;
use crate::config::Config;
use crate::db::Database;
use crate::profile::RequestProfile;

/// Adds every statement to `Server-Timing` if the request has `X-Profile: 1` and an admin token.
pub async fn show_statements(
    State(database): State<Arc<Database>>,
    request: Request,
    next: Next,
) -> Response {
    let asked = request
        .headers()
        .get("x-profile")
        .is_some_and(|value| value == "1");
    if asked
        && is_admin(request.headers(), database.config())
        && let Some(profile) = request.extensions().get::<Arc<RequestProfile>>()
    {
        profile.show_statements();
    }
    next.run(request).await
}

/// Checks the origin, the token, and the host of a request, before any part of the operation runs.
///
/// Pages of other origins may not write, even with a token, because a proxy may add the token to every request from a logged-in user's browser. The
/// host is checked only if no token is required, because a page that uses DNS rebinding has no token.
pub fn admit(operation: &Operation, request: &Request, config: &Config) -> Result<(), ApiError> {
    let headers = request.headers();
    if !operation.is_safe
        && let Some(origin) = foreign_origin(headers, &config.cors_origins)
    {
        return Err(ApiError::ForeignOrigin(origin));
    }
    let mut tokens = tokens_for(operation.audience, config);
    if !brings_one_of(headers, tokens.clone()) {
        return Err(ApiError::Unauthorized(operation.audience));
    }
    if operation.audience != Audience::Everyone
        && tokens.next().is_none()
        && let Some(host) = foreign_host(headers, request.uri(), &config.allowed_hosts)
    {
        return Err(ApiError::ForeignHost(host));
    }
    Ok(())
}

/// Returns the `Cache-Control` of an operation's responses. Responses that require a token must not be stored.
pub fn cache_control(operation: &Operation, config: &Config) -> HeaderValue {
    HeaderValue::from_static(match tokens_for(operation.audience, config).next() {
        Some(_) => "no-store",
        None => "no-cache",
    })
}

/// Returns the tokens that permit the operations of this audience. If there are none, no token is required.
///
/// If no admin token is configured, API tokens also permit the admin operations. If no API token is configured, the API requires no token, but
/// its admin operations require an admin token if one is configured.
fn tokens_for(audience: Audience, config: &Config) -> impl Iterator<Item = &str> + Clone {
    let (api, admin) = (&config.api_tokens[..], &config.admin_tokens[..]);
    let (own, also) = match audience {
        Audience::Everyone => (&[][..], &[][..]),
        Audience::Clients if api.is_empty() => (&[][..], &[][..]),
        Audience::Clients => (api, admin),
        Audience::Administrators if admin.is_empty() => (api, &[][..]),
        Audience::Administrators => (admin, &[][..]),
    };
    own.iter().chain(also).map(String::as_str)
}

/// Returns true if the request has one of `tokens`, or if `tokens` is empty.
pub fn brings_one_of<'a>(headers: &HeaderMap, tokens: impl Iterator<Item = &'a str>) -> bool {
    let mut tokens = tokens.peekable();
    if tokens.peek().is_none() {
        return true;
    }
    match bearer_token(headers) {
        // Compares with all tokens, so that the response time does not show which token matches.
        Some(token) => tokens.fold(false, |found, known| found | same(token, known.as_bytes())),
        None => false,
    }
}

/// Returns the token of a request with one `Authorization` header: the scheme in upper or lower case, one or more spaces, and the
/// token (RFC 9110, 11.4). Spaces around the header's value are ignored.
fn bearer_token(headers: &HeaderMap) -> Option<&[u8]> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return None;
    };
    let value = value.as_bytes().trim_ascii();
    let (scheme, rest) = value.split_at_checked("bearer".len())?;
    let spaces = rest.iter().take_while(|byte| **byte == b' ').count();
    let token = rest.get(spaces..)?;
    (scheme.eq_ignore_ascii_case(b"bearer") && spaces > 0).then_some(token)
}

/// Whether the request has an admin token; false if none is configured.
fn is_admin(headers: &HeaderMap, config: &Config) -> bool {
    let tokens = config.admin_tokens.iter().map(String::as_str);
    !config.admin_tokens.is_empty() && brings_one_of(headers, tokens)
}

/// Compares two values in a time that depends on their lengths, but not on the position of a difference.
fn same(left: &[u8], right: &[u8]) -> bool {
    left.len() == right.len()
        && left.iter().zip(right).fold(0, |differences, (l, r)| {
            std::hint::black_box(differences | (l ^ r))
        }) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn brings(value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, value.parse().unwrap());
        headers
    }

    #[test]
    fn only_a_complete_known_token_grants_access() {
        let tokens = ["one-token-of-16-", "another-token-of-19"];
        let opens = |headers: &HeaderMap| brings_one_of(headers, tokens.into_iter());
        for value in [
            "Bearer one-token-of-16-",
            "bearer another-token-of-19",
            "BEARER one-token-of-16-",
            "Bearer  one-token-of-16-",
            "Bearer    one-token-of-16-  ",
            " Bearer one-token-of-16-\t",
        ] {
            assert!(opens(&brings(value)), "{value}");
        }
        for value in [
            "",
            "Bearer ",
            "Bearer one-token-of-16",
            "Basic one-token-of-16-",
            "one-token-of-16-",
            "Bearer",
            "Bearer   ",
            "Bearerone-token-of-16-",
            "Bearer\tone-token-of-16-",
            "Bearer \tone-token-of-16-",
            "Bearer one-token-of-16- x",
            "Bearer one-token-of-16-, Bearer another-token-of-19",
            "Bearer token=one-token-of-16-",
        ] {
            assert!(!opens(&brings(value)), "{value}");
        }
        assert!(!opens(&HeaderMap::new()));
        let mut twice = brings("Bearer one-token-of-16-");
        twice.append(AUTHORIZATION, "Bearer one-token-of-16-".parse().unwrap());
        assert!(!opens(&twice), "which one counts is not defined");
        assert!(brings_one_of(&HeaderMap::new(), [].into_iter()));
    }

    #[test]
    fn each_audience_accepts_its_own_tokens() {
        let with = |api: &[&str], admin: &[&str]| Config {
            api_tokens: api.iter().map(ToString::to_string).collect(),
            admin_tokens: admin.iter().map(ToString::to_string).collect(),
            ..Config::example()
        };
        let of = |audience, config: &Config| {
            tokens_for(audience, config)
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        let both = with(&["api"], &["admin"]);
        assert!(of(Audience::Everyone, &both).is_empty());
        assert_eq!(of(Audience::Clients, &both), ["api", "admin"]);
        assert_eq!(of(Audience::Administrators, &both), ["admin"]);
        assert_eq!(of(Audience::Administrators, &with(&["api"], &[])), ["api"]);
        assert!(of(Audience::Clients, &with(&[], &["admin"])).is_empty());
    }
}
