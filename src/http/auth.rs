//! Who may see what: the administrators' token, and what it opens.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use axum::middleware::Next;
use axum::response::Response;

use crate::config::Config;
use crate::db::Database;
use crate::profile::RequestProfile;

/// Lets an administrator who asks with `X-Profile: 1` see every statement in `Server-Timing`.
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
        && is_admin(request.headers(), &database.config().admin_tokens)
        && let Some(profile) = request.extensions().get::<Arc<RequestProfile>>()
    {
        profile.show_statements();
    }
    next.run(request).await
}

/// Whether the request may have what's for administrators: anyone may where there are none.
pub fn may_administrate(headers: &HeaderMap, config: &Config) -> bool {
    config.admin_tokens.is_empty() || is_admin(headers, &config.admin_tokens)
}

/// Whether the request brings a token of an administrator's: never where there's none.
fn is_admin(headers: &HeaderMap, tokens: &[String]) -> bool {
    let brought = headers
        .get(AUTHORIZATION)
        .and_then(|value| value.as_bytes().split_first_chunk::<7>());
    match brought {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case(b"bearer ") => tokens
            .iter()
            .fold(false, |found, known| found | same(token, known.as_bytes())),
        _ => false,
    }
}

/// Compares in a time that tells nothing of where they differ; of the length it may.
fn same(left: &[u8], right: &[u8]) -> bool {
    left.len() == right.len()
        && left.iter().zip(right).fold(0, |differences, (l, r)| {
            std::hint::black_box(differences | (l ^ r))
        }) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_known_token_makes_an_administrator() {
        let tokens = [
            "one-token-of-16-".to_owned(),
            "another-token-of-19".to_owned(),
        ];
        let brings = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(AUTHORIZATION, value.parse().unwrap());
            headers
        };
        for value in ["Bearer one-token-of-16-", "bearer another-token-of-19"] {
            assert!(is_admin(&brings(value), &tokens), "{value}");
            assert!(!is_admin(&brings(value), &[]), "{value}");
        }
        for value in [
            "",
            "Bearer ",
            "Bearer one-token-of-16",
            "Basic one-token-of-16-",
            "one-token-of-16-",
        ] {
            assert!(!is_admin(&brings(value), &tokens), "{value}");
        }
        assert!(!is_admin(&HeaderMap::new(), &tokens));
    }
}
