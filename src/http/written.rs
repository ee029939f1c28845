//! The token of a client's last write: the position of the write-ahead log that it's before. A client that brings it back
//! sees what it has written, whichever server is read, and whatever is in the cache. Browsers do so by a cookie, others by a header.
//!
//! It's no secret, and nothing is believed of it but that something newer is wanted.

use std::time::Duration;

use axum::http::header::{COOKIE, SET_COOKIE};
use axum::http::{HeaderMap, HeaderName, HeaderValue};

use crate::db::Freshness;

/// The header, of requests and of responses.
pub const X_WRITTEN: HeaderName = HeaderName::from_static("x-written");

const COOKIE_NAME: &str = "reznet_written=";

/// The token where the position isn't known, or isn't needed: there's a cache and no replica.
const LATEST: &str = "latest";

/// How long a browser brings the token, beside the time that a replica or the cache may be behind.
const KEPT: Duration = Duration::from_mins(1);

/// What a client with these headers must see.
pub fn freshness(headers: &HeaderMap) -> Freshness {
    let texts = |name| {
        let values = headers.get_all(name).iter();
        // Who sends what isn't text may have sent a token with it: that asks for the most.
        values.map(|value| std::str::from_utf8(value.as_bytes()).unwrap_or(COOKIE_NAME))
    };
    let cookies = texts(COOKIE).flat_map(|cookies| cookies.split(';'));
    let cookies = cookies.filter_map(|cookie| cookie.trim().strip_prefix(COOKIE_NAME));
    let tokens = texts(X_WRITTEN).chain(cookies);
    tokens.map(parse).max().unwrap_or(Freshness::Any)
}

/// A token that's none asks for the most.
fn parse(token: &str) -> Freshness {
    token
        .trim()
        .parse()
        .map_or(Freshness::Latest, Freshness::Position)
}

/// Adds the token to the headers of an answer after which the client must see what it wrote.
pub fn tell(headers: &mut HeaderMap, position: Option<u64>, most_lag: Duration) {
    let token = position.map_or_else(|| LATEST.to_owned(), |position| position.to_string());
    let kept_s = KEPT.saturating_add(most_lag).as_secs();
    let cookie =
        format!("{COOKIE_NAME}{token}; Max-Age={kept_s}; Path=/api; HttpOnly; SameSite=Lax");
    for (name, value) in [(X_WRITTEN, token), (SET_COOKIE, cookie)] {
        // Digits and letters: always valid values.
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(name, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_of_all_tokens_counts() {
        let of = |pairs: &[(HeaderName, &str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in pairs {
                headers.append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
            }
            freshness(&headers)
        };
        let position = Freshness::Position;
        assert_eq!(of(&[]), Freshness::Any);
        assert_eq!(of(&[(COOKIE, "a=1; b=2")]), Freshness::Any);
        assert_eq!(of(&[(X_WRITTEN, "12")]), position(12));
        assert_eq!(of(&[(COOKIE, "a=1; reznet_written=7;b=2")]), position(7));
        let both = [(X_WRITTEN, "12"), (COOKIE, "reznet_written=13")];
        assert_eq!(of(&both), position(13));
        assert_eq!(
            of(&[(COOKIE, "name=Zo\u{eb}; reznet_written=7")]),
            position(7)
        );
        for none in ["latest", "", "-1", "1x", "99999999999999999999"] {
            let tokens = [(X_WRITTEN, "12"), (X_WRITTEN, none)];
            assert_eq!(of(&tokens), Freshness::Latest, "{none}");
        }
    }
}
