//! Paging: the parameters `limit`, `offset` and `cursor`, and the `Link` to the next page.

use uuid::Uuid;

use super::contract::Cursor;
use super::input::{Input, RequestUri};
use super::problem::ApiError;
use super::reply::Reply;
use crate::queries::{Items, Order, Page};
use crate::schema::{FieldType, Parameter};

/// Returns the parameters `limit`, `offset` and `cursor` of a list.
pub const fn parameters(default_limit: &'static str) -> [Parameter; 3] {
    [
        Parameter {
            name: "limit",
            default: Some(default_limit),
            ..Parameter::new(
                FieldType::Integer { min: 1, max: 200 },
                "Maximum number of items in a page.",
            )
        },
        Parameter {
            name: "offset",
            default: Some("0"),
            ..Parameter::new(
                FieldType::Integer {
                    min: 0,
                    max: 1_000_000,
                },
                "Number of items to skip. Following the Link header instead is faster, and does not miss items if rows are added or removed between requests.",
            )
        },
        Parameter {
            name: "cursor",
            ..Parameter::new(
                FieldType::Cursor,
                "Start of the page, taken from the Link header of the previous page.",
            )
        },
    ]
}

/// The parameters of a list's page, which `..list` in [`parameters!`](super::parameters::parameters) declares.
pub trait Paged {
    /// Returns `limit`, `offset` and `cursor`.
    fn page(&self) -> (i64, i64, Option<Cursor>);

    /// Returns the value of each filter.
    fn filters(&self) -> &[Option<String>];
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
            filters: self.parameters.filters().to_vec(),
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
