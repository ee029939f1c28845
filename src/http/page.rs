//! Paging: the parameters `limit`, `offset` and `cursor`, and the `Link` to the next page.

use uuid::Uuid;

use super::contract::{Cursor, FieldType, Parameter};
use super::input::{Input, RequestUri};
use super::problem::ApiError;
use super::reply::Reply;
use crate::queries::{Items, Order, Page};

/// The parameter `limit` of every list. Each list has its own default.
pub const LIMIT: Parameter = Parameter {
    name: "limit",
    field_type: FieldType::Integer { min: 1, max: 200 },
    about: "Maximum number of items in a page.",
    default: None,
};

/// The parameter `offset` of every list.
pub const OFFSET: Parameter = Parameter {
    name: "offset",
    field_type: FieldType::Integer {
        min: 0,
        max: 1_000_000,
    },
    about: "Number of items to skip. Following the Link header instead is faster, and does not miss items if rows are added or removed between requests.",
    default: Some("0"),
};

/// The parameter `cursor` of every list.
pub const CURSOR: Parameter = Parameter {
    name: "cursor",
    field_type: FieldType::Cursor,
    about: "Start of the page, taken from the Link header of the previous page.",
    default: None,
};

/// The parameters of a list's page, which `..page` in [`parameters!`](super::parameters::parameters) declares.
pub trait Paged {
    /// Returns `limit`, `offset` and `cursor`.
    fn page(&self) -> (i64, i64, Option<Cursor>);
}

impl<P: Paged> Input<P> {
    /// Returns the page that the request asks for.
    pub fn page(&self, order: Order) -> Page {
        let (limit, offset, cursor) = self.parameters.page();
        let (key, id) = match (cursor, order) {
            (Some(cursor), _) => (cursor.key, cursor.id),
            // Without a cursor, the page begins after a key that precedes all rows in the list's order.
            (None, Order::Oldest | Order::OldestNullsFirst | Order::Position) => {
                (i64::MIN, Uuid::nil())
            }
            (None, Order::Newest | Order::NewestLast) => (i64::MAX, Uuid::max()),
        };
        Page {
            key,
            id,
            limit: i32::try_from(limit).unwrap_or(i32::MAX),
            offset,
            if_none_match: self.if_none_match.clone(),
        }
    }
}

/// Returns a page of a list, with a `Link` (RFC 8288) to the next page if there may be one. Returns `absent` if the parent row
/// does not exist.
pub fn list(items: Option<Items>, uri: &RequestUri, absent: ApiError) -> Result<Reply, ApiError> {
    let Items { json, next, tag } = items.ok_or(absent)?;
    let reply = Reply::page(json, tag);
    Ok(match next {
        None => reply,
        Some(cursor) => {
            let kept = uri
                .query
                .iter()
                .filter(|(name, _)| name != "cursor" && name != "offset");
            let query = form_urlencoded::Serializer::new(String::new())
                .extend_pairs(kept)
                .append_pair("cursor", &cursor)
                .finish();
            reply.with_next(&format!("{}?{query}", uri.path))
        }
    })
}
