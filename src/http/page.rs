//! Paging: the parameters `limit`, `offset` and `cursor`, and the `Link` to the next page.

use uuid::Uuid;

use super::contract::{Kind, Parameter, documented};
use super::input::Input;
use super::problem::ApiError;
use super::reply::Reply;
use crate::queries::{Items, Order, Page};

/// The usual number of rows in a page if the request has no `limit`.
pub const DEFAULT_LIMIT: i64 = 50;

/// The parameter `limit` of every list.
pub const LIMIT: Parameter = Parameter {
    name: "limit",
    kind: Kind::Integer { min: 1, max: 200 },
    about: documented("Maximum number of items in a page."),
    default: Some("50"),
};

/// The parameter `offset` of every list.
pub const OFFSET: Parameter = Parameter {
    name: "offset",
    kind: Kind::Integer {
        min: 0,
        max: 1_000_000,
    },
    about: documented(
        "Number of items to skip. Following the Link header instead is faster, and misses no items while others write.",
    ),
    default: Some("0"),
};

/// The parameter `cursor` of every list.
pub const CURSOR: Parameter = Parameter {
    name: "cursor",
    kind: Kind::Cursor,
    about: documented("Start of the page, taken from the Link header of the previous page."),
    default: None,
};

impl Page {
    /// Returns the page that a request asks for.
    pub(super) fn of(input: &Input, order: Order, default_limit: i64) -> Self {
        let (key, id) = match (input.cursor(), order) {
            (Some(cursor), _) => (cursor.key, cursor.id),
            // Without a cursor, the page begins after a key that precedes all rows in the list's order.
            (None, Order::Oldest | Order::OldestNullsFirst | Order::Place) => {
                (i64::MIN, Uuid::nil())
            }
            (None, Order::Newest | Order::NewestLast) => (i64::MAX, Uuid::max()),
        };
        let limit = input.integer("limit").unwrap_or(default_limit);
        Self {
            key,
            id,
            limit: i32::try_from(limit).unwrap_or(i32::MAX),
            offset: input.integer("offset").unwrap_or(0),
            held: input.held.clone(),
        }
    }
}

/// Returns a page of a list, with a `Link` (RFC 8288) to the next page if there may be one. Returns `absent` if the parent row
/// does not exist.
pub fn list(items: Option<Items>, input: &Input, absent: ApiError) -> Result<Reply, ApiError> {
    let Items { json, next, tag } = items.ok_or(absent)?;
    let reply = Reply::page(json, tag);
    Ok(match next {
        None => reply,
        Some(cursor) => {
            let kept = input
                .query
                .iter()
                .filter(|(name, _)| name != "cursor" && name != "offset");
            let query = form_urlencoded::Serializer::new(String::new())
                .extend_pairs(kept)
                .append_pair("cursor", &cursor)
                .finish();
            reply.with_next(&format!("{}?{query}", input.path))
        }
    })
}
