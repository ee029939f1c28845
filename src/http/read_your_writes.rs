//! The read-your-writes token: a WAL position at or after the client's last write. A client that sends the token back sees its own writes, even
//! if a replica or the cache serves the read. Browsers send the token as a cookie, other clients as a header.
//!
//! The token isn't secret, because a forged token can only request newer data.

use std::time::Duration;

use axum::http::header::{COOKIE, SET_COOKIE};
use axum::http::{HeaderMap, HeaderName, HeaderValue};

use super::contract::{Audience, Operation};
use crate::db::{Db, Freshness};
use crate::queries::{cache, replica};

/// The header with the token, in requests and in responses.
pub const X_WRITTEN: HeaderName = HeaderName::from_static("x-written");

const COOKIE_NAME: &str = "reznet_written=";

/// The token for a write at an unknown position. Also the only token without a replica, because only the cache must be bypassed then.
const LATEST: &str = "latest";

/// The time that a browser keeps the token, in addition to the maximum lag of a replica or the cache.
const KEPT: Duration = Duration::from_mins(1);

/// Lets a client's reads use the replica and the cache, as far as its read-your-writes token allows. Other operations use the primary.
pub fn allow_stale_reads(db: Db, operation: &Operation, headers: &HeaderMap) -> Db {
    let config = db.config();
    let has_stale_data = config.db_read_address.is_some() || !config.cache_ttl.is_zero();
    if operation.audience == Audience::Clients && operation.is_read() && has_stale_data {
        replica::reading(db, freshness(headers))
    } else {
        db
    }
}

/// After a write, sets the header and the cookie with the token, so that the client's next reads see the write. A failed write may still have
/// taken effect at an unknown WAL position, so its client gets the token `latest`.
pub async fn set_token(db: &Db, succeeded: bool, headers: &mut HeaderMap) {
    let config = db.config();
    let has_replica = config.db_read_address.is_some();
    let hides_in_cache = !config.cache_ttl.is_zero() && cache::has_changed(db);
    if !(hides_in_cache || has_replica && replica::has_written(db)) {
        return;
    }
    let position = if succeeded && has_replica {
        replica::write_position(db).await
    } else {
        None
    };
    let lag = config.db_read_max_lag;
    let hidden_for = if hides_in_cache {
        lag.max(config.cache_ttl)
    } else {
        lag
    };
    add_token(headers, position, hidden_for);
}

/// Returns the freshness that the tokens in these headers require: the maximum of all tokens.
fn freshness(headers: &HeaderMap) -> Freshness {
    let texts = |name| {
        let values = headers.get_all(name).iter();
        // A value that isn't UTF-8 may contain a token, so it is replaced by an invalid token, which requires the latest data.
        values.map(|value| std::str::from_utf8(value.as_bytes()).unwrap_or(COOKIE_NAME))
    };
    let cookies = texts(COOKIE).flat_map(|cookies| cookies.split(';'));
    let cookies = cookies.filter_map(|cookie| cookie.trim().strip_prefix(COOKIE_NAME));
    let tokens = texts(X_WRITTEN).chain(cookies);
    tokens.map(parse).max().unwrap_or(Freshness::Any)
}

/// Parses a token. An invalid token requires the latest data.
fn parse(token: &str) -> Freshness {
    token
        .trim()
        .parse()
        .map_or(Freshness::Latest, Freshness::Position)
}

/// Adds the header and the cookie with the token.
fn add_token(headers: &mut HeaderMap, position: Option<u64>, most_lag: Duration) {
    let token = position.map_or_else(|| LATEST.to_owned(), |position| position.to_string());
    let kept_s = KEPT.saturating_add(most_lag).as_secs();
    let cookie =
        format!("{COOKIE_NAME}{token}; Max-Age={kept_s}; Path=/api; HttpOnly; SameSite=Lax");
    for (name, value) in [(X_WRITTEN, token), (SET_COOKIE, cookie)] {
        // Visible ASCII characters and spaces are always valid values.
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(name, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_read_your_writes_token_is_used() {
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
