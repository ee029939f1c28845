//! Lists: the two statements of each list, and the functions that read a page with them. Doesn't depend on a table.

use std::hash::Hasher;

use twox_hash::XxHash64;
use uuid::Uuid;

use super::uuid;
use crate::db::{Answer, Db, DbError, Parameter, Statement};

/// The position and size of a page: it begins `offset` rows after a cursor, and has at most `limit` rows.
#[derive(Clone, Debug)]
pub struct Page {
    /// The cursor's key: a position, or a time in microseconds since 1970. The ends of `i64` mean PostgreSQL's `-infinity` and
    /// `infinity`.
    pub key: i64,
    /// The cursor's id.
    pub id: Uuid,
    /// The maximum number of rows.
    pub limit: i32,
    /// The number of rows to skip after the cursor.
    pub offset: i64,
    /// The tags in the client's `If-None-Match`. [`ANY_TAG`] matches every page.
    pub if_none_match: Vec<String>,
}

impl Page {
    /// Returns the page of [`Order::Oldest`] that begins at the cursor or at a time (microseconds since 1970), whichever is later.
    pub(super) fn from(mut self, since_us: i64) -> Self {
        let just_before = (since_us.saturating_sub(1), Uuid::max());
        if since_us > i64::MIN && just_before > (self.key, self.id) {
            (self.key, self.id) = just_before;
        }
        self
    }
}

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The length of a tag in hexadecimal digits.
pub const TAG_LENGTH: usize = 16;

/// The tag in [`Page::if_none_match`] that matches every page.
pub const ANY_TAG: &str = "*";

/// Returns true if one of the client's tags matches `tag`.
#[must_use]
pub fn tag_is_in(if_none_match: &[String], tag: &str) -> bool {
    if_none_match
        .iter()
        .any(|given| given == tag || given == ANY_TAG)
}

/// A page's rows as a JSON array, and the cursor of the next page if there may be one.
#[derive(Debug)]
pub struct Items {
    /// The array; `None` if the client has it already.
    pub json: Option<String>,
    /// The cursor, as `key.id`.
    pub next: Option<String>,
    /// The page's tag. It changes if the rows change.
    pub tag: String,
}

/// A list: the statement that reads a page, and the cheaper statement that reads only what the page's tag needs.
pub(super) struct List {
    pub page: Statement,
    pub tag: Statement,
    /// The table, if pages of the list may be cached.
    pub cached: Option<&'static str>,
}

/// Returns the tag of a page, [`TAG_LENGTH`] digits long. It changes with the rows, the list's statement and the version, and is
/// the same on all servers.
fn page_tag(list: &List, rows: &str) -> String {
    let mut hasher = XxHash64::with_seed(0);
    // Other parts of the response, such as the Link header, may change with the version.
    for part in [list.page.sql, rows, VERSION] {
        hasher.write(part.as_bytes());
    }
    format!("{:016x}", hasher.finish())
}

impl Items {
    /// Converts the answer of a list's page statement; `None` if the parent row doesn't exist.
    fn of(list: &List, answer: Answer) -> Option<Self> {
        let note = answer.note.unwrap_or_default();
        let (rows, next) = match note.split_once(' ') {
            Some((rows, next)) => (rows, Some(next.to_owned())),
            None => (note.as_str(), None),
        };
        Some(Self {
            json: Some(["[", &answer.json?, "]"].concat()),
            next,
            tag: page_tag(list, rows),
        })
    }
}

/// Returns a page of a list, or only its tag if the client has the page already; `None` if the parent row doesn't exist.
///
/// If pages of the list may be cached, always reads the page. Reading only tags would never fill the cache.
pub(super) async fn items(
    db: &Db,
    list: &'static List,
    page: Page,
    filters: impl IntoIterator<Item = Parameter>,
) -> Result<Option<Items>, DbError> {
    let mut parameters = vec![
        Parameter::Int64(page.key),
        uuid(page.id),
        Parameter::Int32(page.limit),
        Parameter::Int64(page.offset),
    ];
    parameters.extend(filters);
    if let Some(table) = list.cached.filter(|_| db.caches()) {
        let answer = db.cached(table, &list.page, parameters).await?;
        return Ok(Items::of(list, answer));
    }
    // After a write by the client, the page has most likely changed, and an additional read would ask the replica once more.
    if !page.if_none_match.is_empty() && !db.asks_replica_first() {
        let answer = db.answer(&list.tag, parameters.clone()).await?;
        let Some(rows) = answer.json else {
            return Ok(None);
        };
        let tag = page_tag(list, &rows);
        if tag_is_in(&page.if_none_match, &tag) {
            return Ok(Some(Items {
                json: None,
                next: None,
                tag,
            }));
        }
    }
    let answer = db.answer(&list.page, parameters).await?;
    Ok(Items::of(list, answer))
}

/// Converts a key to a time, in SQL. Accepts any key, because clients may invent cursors. A key before PostgreSQL's first time
/// becomes `-infinity`.
///
/// PostgreSQL multiplies intervals by floats. Whole hours and the remaining microseconds, added separately, stay exact; one count
/// of microseconds loses some after the year 2255.
macro_rules! key_time {
    ($parameter:literal) => {
        concat!(
            "CASE WHEN ",
            $parameter,
            "::bigint < -210866803200000000 THEN '-infinity'::timestamptz WHEN ",
            $parameter,
            "::bigint = 9223372036854775807 THEN 'infinity'::timestamptz ELSE 'epoch'::timestamptz + ",
            $parameter,
            "::bigint / 3600000000 * interval '1 hour' + ",
            $parameter,
            "::bigint % 3600000000 * interval '1 microsecond' END"
        )
    };
}

/// Converts a time to a key, in SQL: the inverse of [`key_time!`].
macro_rules! time_key {
    ($time:literal) => {
        concat!(
            "least(greatest(extract(epoch FROM ",
            $time,
            ") * 1000000, -9223372036854775808), 9223372036854775807)::bigint"
        )
    };
}

/// How a list is sorted, and where its next page begins.
#[derive(Clone, Copy, Debug)]
pub enum Order {
    /// By time, the oldest first.
    Oldest,
    /// Like [`Oldest`](Self::Oldest), but in the order of an index that no other list uses. The columns are never NULL.
    OldestNullsFirst,
    /// By time, the newest first.
    Newest,
    /// Pages like [`Newest`](Self::Newest), but the rows of a page are oldest first. The next page is older.
    NewestLast,
    /// By position.
    Position,
}

impl Order {
    /// The column that a page is sorted by, before the id.
    pub(super) const fn key(self) -> &'static str {
        match self {
            Self::Position => "order_index",
            Self::Oldest | Self::OldestNullsFirst | Self::Newest | Self::NewestLast => "created_at",
        }
    }

    /// The comparison of a row with the cursor; true for the rows after the cursor.
    pub(super) const fn comparison(self) -> &'static str {
        match self {
            Self::Oldest | Self::OldestNullsFirst | Self::Position => ") > (",
            Self::Newest | Self::NewestLast => ") < (",
        }
    }

    /// The cursor: the values that the key and the id of a row are compared with.
    pub(super) const fn cursor(self) -> &'static str {
        match self {
            Self::Position => {
                "least(greatest($1::bigint, -2147483648), 2147483647)::int, $2::uuid)"
            }
            Self::Oldest | Self::OldestNullsFirst | Self::Newest | Self::NewestLast => {
                concat!(key_time!("$1"), ", $2::uuid)")
            }
        }
    }

    /// The sort direction that follows each column in ORDER BY.
    pub(super) const fn direction(self) -> &'static str {
        match self {
            Self::Oldest | Self::Position => "",
            Self::OldestNullsFirst => " NULLS FIRST",
            Self::Newest | Self::NewestLast => " DESC",
        }
    }

    /// A page's JSON: the rows that fit, without the array's brackets. For each bracket, PostgreSQL would copy the full text, which
    /// takes a tenth of the statement's time. [`Items::of`] adds the brackets in less time.
    pub(super) const fn json(self) -> &'static str {
        match self {
            Self::NewestLast => {
                "coalesce(string_agg(json, ',' ORDER BY key, id) FILTER (WHERE fits), '')"
            }
            _ => "coalesce(string_agg(json, ',') FILTER (WHERE fits), '')",
        }
    }

    /// The cursor of the next page: the key and id of this page's last row, or of its first row for [`NewestLast`](Self::NewestLast).
    /// `NewestLast` sorts each aggregate, because the order of an unsorted aggregate is undefined next to a sorted one.
    pub(super) const fn next(self) -> &'static str {
        match self {
            Self::Position => {
                "(array_agg(key) FILTER (WHERE fits))[count(*) FILTER (WHERE fits)]
                    || '.' || (array_agg(id) FILTER (WHERE fits))[count(*) FILTER (WHERE fits)]"
            }
            Self::NewestLast => {
                concat!(
                    time_key!("(array_agg(key ORDER BY key, id) FILTER (WHERE fits))[1]"),
                    "
                    || '.' || (array_agg(id ORDER BY key, id) FILTER (WHERE fits))[1]"
                )
            }
            Self::Oldest | Self::OldestNullsFirst | Self::Newest => {
                concat!(
                    time_key!("(array_agg(key) FILTER (WHERE fits))[count(*) FILTER (WHERE fits)]"),
                    "
                    || '.' || (array_agg(id) FILTER (WHERE fits))[count(*) FILTER (WHERE fits)]"
                )
            }
        }
    }
}

/// The part of a page's tag that depends on its rows: their number, and a hash of the rows that may fit. Hashes their values instead
/// of their JSON, because building the JSON takes most of a page's time.
pub(super) const ROWS_TAG: &str = "count(*) || '.' || coalesce(sum(hash), 0)";

/// The hash of a row that may fit into the page. A record's hash is the sum of its columns' hashes (times powers of 31). So each row
/// is hashed with its own seed; otherwise two rows that swap a value would keep their sum.
///
/// `extra_hash` is an additional hash: of the text of a jsonb column that can change while all times of the row stay the same. Some jsonb values that differ
/// only in their nesting have the same hash (`{"a": [1], "b": 2}`, `{"a": [1, "b", 2]}`).
pub(super) const ROW_HASH: &str = "CASE WHEN 2097152 > before THEN hash_record_extended(item, uuid_hash_extended(id, 0)) # extra_hash END AS hash";

/// A statement that reads a page of rows: its `json` and its `note`. The page ends after `limit` rows, or after the row that reaches
/// 2 MiB of JSON, because sixteen requests share an instance's memory.
///
/// `json` and `note` are expressions on the rows `page`, which have the columns `key`, `id`, `hash`, `json` and `fits`.
/// `rows` is a FROM with an ORDER BY and a LIMIT. `text_bytes` is the length of a row's long texts. It is cheap to compute, and
/// shows which rows can't fit, so that these aren't converted to JSON. `extra_hash` is as in [`ROW_HASH`]. OFFSET 0 keeps PostgreSQL from building the JSON twice.
macro_rules! page {
    (
        $(begin: $begin:expr,)?
        json: [$($json:expr),+],
        note: [$($note:expr),+],
        key: $key:expr,
        columns: $columns:expr,
        text_bytes: $text_bytes:tt,
        extra_hash: $extra_hash:literal,
        rows: [$($rows:expr),+]
        $(, end: [$($end:expr),+])?
    ) => {
        ::constcat::concat![
            $($begin,)?
            "SELECT ", $($json),+, ", ", $($note),+, " FROM (
                SELECT key, id, hash, json, json IS NOT NULL AND 2097152 > coalesce(
                    sum(octet_length(json)) OVER (ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) AS fits
                FROM (
                    SELECT key, id, ", $crate::queries::list::ROW_HASH, ", CASE WHEN 2097152 > before THEN row_to_json(item)::text END AS json
                    FROM (
                        SELECT item, ", $extra_hash, " AS extra_hash, stored.id, stored.", $key, " AS key, ",
            $crate::queries::list::before!($text_bytes), " AS before
                        FROM (SELECT * FROM ", $($rows),+, ") AS stored, LATERAL (SELECT ", $columns, ") AS item) AS sized
                    OFFSET 0) AS line) AS page",
            $($($end),+)?
        ]
    };
}

/// A [`List`] of the `columns` of a table's rows in an order: either the rows that match a `filter`, or the rows whose columns equal
/// the `within` values. `parent_exists` is an SQL condition. `text_bytes` and `extra_hash` are as in [`page!`].
///
/// PostgreSQL assumes that the rows that match a filter are spread evenly over the table. If an agent wrote a third of all messages,
/// PostgreSQL would read all messages by time until it has found enough of that agent's. If the agent has been quiet for long, it
/// would read many rows in vain. So a page `within` values is read as a range of the index that begins with their columns. Rows with
/// other values, which follow the range, are dropped afterwards. With this order PostgreSQL would read every partition of a table. The
/// lists of messages therefore have a filter. It compares with `(SELECT $5::uuid)`, which hides the value, so the planner assumes an agent
/// or channel of average size. If the planner expected fewer rows than the page needs, it would sort them all instead of reading them in
/// order, which is slow for a busy channel. So these lists also hide LIMIT and OFFSET (`limit: unknown`). The planner then assumes that the
/// query needs a fifth of the rows.
///
/// The note of a page is its [`ROWS_TAG`], and the cursor of the next page if there may be one.
macro_rules! list {
    (
        name: $name:literal,
        parent_exists: $parent_exists:literal,
        columns: $columns:expr,
        text_bytes: $text_bytes:tt,
        extra_hash: $extra_hash:literal,
        table: $table:literal,
        filter: $filter:expr,
        $(limit: $limit:tt,)?
        order: $order:expr,
        cached: $cached:expr,
        access: $access:expr,
    ) => {
        $crate::queries::list::list!(
            @ $name, $parent_exists, $columns, $text_bytes, $extra_hash, $order, $cached, $access,
            [
                $table, " WHERE ", $filter, " AND (", $order.key(), ", id", $order.comparison(), $order.cursor(),
                " ORDER BY ", $order.key(), $order.direction(), ", id", $order.direction(),
                $crate::queries::list::limit!($($limit)?)
            ]
        )
    };
    (
        name: $name:literal,
        parent_exists: $parent_exists:literal,
        columns: $columns:expr,
        text_bytes: $text_bytes:tt,
        extra_hash: $extra_hash:literal,
        table: $table:literal,
        within: [$($column:literal = $value:literal),+],
        order: $order:expr,
        cached: $cached:expr,
        access: $access:expr,
    ) => {
        $crate::queries::list::list!(
            @ $name, $parent_exists, $columns, $text_bytes, $extra_hash, $order, $cached, $access,
            [
                "(SELECT * FROM ", $table, " WHERE (", $($column, ", ",)+ $order.key(), ", id", $order.comparison(),
                $("(SELECT ", $value, "), ",)+ $order.cursor(),
                " ORDER BY ", $($column, $order.direction(), ", ",)+ $order.key(), $order.direction(), ", id", $order.direction(),
                " LIMIT $3::int OFFSET $4::bigint) AS range WHERE true", $(" AND ", $column, " = ", $value),+
            ]
        )
    };
    (
        @ $name:literal, $parent_exists:literal, $columns:expr, $text_bytes:tt, $extra_hash:literal, $order:expr, $cached:expr, $access:expr,
        [$($rows:expr),+]
    ) => {
        $crate::queries::list::List {
            page: $crate::db::Statement {
                name: $name,
                sql: $crate::queries::list::page!(
                    json: ["CASE WHEN ", $parent_exists, " THEN ", $order.json(), " END"],
                    note: [
                        $crate::queries::list::ROWS_TAG,
                        " || CASE WHEN count(*) = $3::int OR NOT bool_and(fits) THEN ' ' || ", $order.next(), " ELSE '' END"
                    ],
                    key: $order.key(),
                    columns: $columns,
                    text_bytes: $text_bytes,
                    extra_hash: $extra_hash,
                    rows: [$($rows),+]
                ),
                effect: $crate::db::Effect::Reads,
                access: $access,
                max_rows: 200,
            },
            tag: $crate::db::Statement {
                name: concat!($name, "_tag"),
                sql: ::constcat::concat![
                    "SELECT CASE WHEN ", $parent_exists, " THEN ", $crate::queries::list::ROWS_TAG, " END FROM (
                        SELECT ", $crate::queries::list::ROW_HASH, " FROM (
                            SELECT item, stored.id, ", $extra_hash, " AS extra_hash, ",
                    $crate::queries::list::before!($text_bytes), " AS before
                            FROM (SELECT * FROM ", $($rows),+, ") AS stored,
                                LATERAL (SELECT ", $columns, ") AS item) AS sized) AS page"
                ],
                effect: $crate::db::Effect::Reads,
                access: $access,
                max_rows: 200,
            },
            cached: $cached,
        }
    };
}

/// The LIMIT and OFFSET of a page, either known to the planner or `unknown`.
macro_rules! limit {
    () => {
        " LIMIT $3::int OFFSET $4::bigint"
    };
    (unknown) => {
        " LIMIT (SELECT $3::int) OFFSET (SELECT $4::bigint)"
    };
}

/// The total length of the long texts in the rows before this one. `$text_bytes` is the length for one row, or `none`.
macro_rules! before {
    (none) => {
        "0"
    };
    ($text_bytes:literal) => {
        concat!(
            "coalesce(sum(",
            $text_bytes,
            ") OVER (ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0)"
        )
    };
}

pub(super) use {before, key_time, limit, list, page};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queries::agents;

    #[test]
    fn a_page_starts_at_the_later_of_cursor_and_since_time() {
        let from = |key, id, since_us| {
            let page = Page {
                key,
                id,
                limit: 1,
                offset: 0,
                if_none_match: vec![],
            };
            let page = page.from(since_us);
            (page.key, page.id)
        };
        let (first, id, last) = (Uuid::nil(), Uuid::from_u128(7), Uuid::max());
        assert_eq!(from(i64::MIN, first, i64::MIN), (i64::MIN, first));
        assert_eq!(from(i64::MIN, first, 5), (4, last));
        assert_eq!(from(3, id, 5), (4, last));
        assert_eq!(from(4, id, 5), (4, last));
        assert_eq!(from(5, id, 5), (5, id));
        assert_eq!(from(6, id, 5), (6, id));
        assert_eq!(from(6, id, i64::MIN + 1), (6, id));
    }

    #[test]
    fn page_etags_differ_if_the_rows_or_the_statement_differ() {
        let tag = page_tag(&agents::AGENT_LIST, "2.17");
        assert_eq!(tag.len(), TAG_LENGTH);
        assert_eq!(tag, page_tag(&agents::AGENT_LIST, "2.17"));
        assert_ne!(tag, page_tag(&agents::AGENT_LIST, "2.18"));
        assert_ne!(tag, page_tag(&agents::AGENT_LIST_ACTIVE, "2.17"));
    }

    #[test]
    fn the_page_tag_is_computed_from_the_note_without_its_cursor() {
        let items = |note: &str| {
            let (json, note) = (Some("1,2".to_owned()), Some(note.to_owned()));
            Items::of(&agents::AGENT_LIST, Answer { json, note }).unwrap()
        };
        let last = items("2.-17");
        assert_eq!((last.json.as_deref(), last.next), (Some("[1,2]"), None));
        let first = items("2.-17 5.id");
        assert_eq!(first.next.as_deref(), Some("5.id"));
        assert_eq!(first.tag, last.tag);
        assert!(Items::of(&agents::AGENT_LIST, Answer::default()).is_none());
    }
}
