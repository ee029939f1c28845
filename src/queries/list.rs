//! Composes the statements of lists, and reads pages with them. No code here is specific to one table.

use std::hash::Hasher;

use twox_hash::XxHash64;
use uuid::Uuid;

use super::{text, uuid};
use crate::db::{Access, Answer, Db, DbError, Effect, Parameter, Statement};
use crate::schema::{FieldType, Filter, Filters};

/// The filters, the position and the size of a page. The page begins `offset` rows after a cursor, and has at most `limit` rows.
#[derive(Clone, Debug)]
pub struct Page {
    /// The cursor's key: a position, or a time in microseconds since 1970. `i64::MIN` and `i64::MAX` mean `-infinity` and `infinity`.
    pub key: i64,
    /// The cursor's id.
    pub id: Uuid,
    /// The maximum number of rows.
    pub limit: i32,
    /// The number of rows to skip after the cursor.
    pub offset: i64,
    /// The value of each filter of the list; `None` if the request doesn't have the filter.
    pub filters: Vec<Option<String>>,
    /// The tags in the client's `If-None-Match`. [`ANY_TAG`] matches every page.
    pub if_none_match: Vec<String>,
}

impl Page {
    /// Returns the page of [`Order::Oldest`] that begins at the cursor or at a time (microseconds since 1970), whichever comes later.
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
    /// The rows as a JSON array; `None` if the client has the page already.
    pub json: Option<String>,
    /// The cursor, as `key.id`.
    pub next: Option<String>,
    /// The page's tag, which changes if the rows change.
    pub tag: String,
}

/// The description of a list, from which [`List::new`] composes the statements.
pub struct ListOf {
    /// The beginning of the statements' names. The labels of the filters are appended.
    pub name: &'static str,
    /// The table, without its schema.
    pub table: &'static str,
    /// The columns of a row as the API shows it.
    pub columns: &'static str,
    /// See [`PageOf`].
    pub text_bytes: Option<&'static str>,
    /// See [`PageOf`].
    pub extra_hash: &'static str,
    /// The parent row, which must exist. The parameter `$5` is the parent's id.
    pub parent: Option<Parent>,
    /// A condition for all rows of the list.
    pub condition: &'static str,
    /// [`LIMIT`] or [`UNKNOWN_LIMIT`].
    pub limit: &'static str,
    /// How the list is sorted.
    pub order: Order,
    /// The filters.
    pub filters: &'static Filters,
    /// Whether the table has hundreds of rows, so that PostgreSQL may read all of them.
    pub is_small: bool,
    /// Whether pages may be cached.
    pub is_cached: bool,
}

/// The parent of a list's rows.
pub struct Parent {
    /// The parent's table, without the schema.
    pub table: &'static str,
    /// The table's primary key.
    pub index: &'static [&'static str],
    /// The column of the list's table that has the parent's id; `None` if the list's condition compares that column with `$5`.
    pub column: Option<&'static str>,
}

impl ListOf {
    /// The default values of the properties.
    pub const ROWS: Self = Self {
        name: "",
        table: "",
        columns: "",
        text_bytes: None,
        extra_hash: "0",
        parent: None,
        condition: "true",
        limit: LIMIT,
        order: Order::Newest,
        filters: &Filters {
            filters: &[],
            indexes: &[],
        },
        is_small: false,
        is_cached: false,
    };
}

/// A list, with the statements for each combination of its filters.
pub struct List {
    /// The list's description.
    pub of: ListOf,
    /// The combinations. The bit `1 << i` of an index is set if the combination has the filter `i`.
    pub combinations: Vec<Combination>,
}

/// A combination of a list's filters: the statement that reads a page, and the cheaper statement that reads only the data for the page's tag.
pub struct Combination {
    /// The filters, in the order of the parameters of the statements.
    pub filters: Vec<&'static Filter>,
    /// Reads a page.
    pub page: Statement,
    /// Reads the data for a page's tag.
    pub tag: Statement,
}

impl List {
    /// Composes the statements of all combinations from constant texts.
    pub(super) fn new(of: ListOf) -> Self {
        let combinations = 0..1 << of.filters.filters.len();
        let combinations = combinations
            .map(|given| Combination::new(&of, given))
            .collect();
        Self { of, combinations }
    }

    /// Returns the statements that read pages and tags.
    pub fn statements(&self) -> impl Iterator<Item = &Statement> {
        self.combinations
            .iter()
            .flat_map(|combination| [&combination.page, &combination.tag])
    }
}

impl Combination {
    fn new(list: &ListOf, given: usize) -> Self {
        let all = list.filters.filters.iter().enumerate();
        let filters: Vec<_> = all
            .filter(|(i, _)| given & (1 << i) != 0)
            .map(|(_, filter)| filter)
            .rev()
            .collect();
        let labels: Vec<_> = filters.iter().map(|filter| filter.label).collect();
        let name = [&[list.name], &*labels].concat().join("_");
        let rows = rows(list, &filters);
        let parent_exists = match &list.parent {
            None => "true".to_owned(),
            Some(Parent { table, .. }) => {
                format!("EXISTS (SELECT FROM public.{table} WHERE id = $5::uuid)")
            }
        };
        let order = list.order.of(&filters);
        let (json, next) = (order.json(), order.next());
        let page = PageOf {
            json: &format!("CASE WHEN {parent_exists} THEN {json} END"),
            note: &format!(
                "{ROWS_TAG} || CASE WHEN count(*) = $3::int OR NOT bool_and(fits) THEN ' ' || {next} ELSE '' END"
            ),
            key: order.key(),
            columns: list.columns,
            text_bytes: list.text_bytes,
            extra_hash: list.extra_hash,
            rows: &rows,
        };
        let (before, columns, extra_hash) = (page.before(), list.columns, list.extra_hash);
        let tag = format!(
            "SELECT CASE WHEN {parent_exists} THEN {ROWS_TAG} END FROM (
                SELECT {ROW_HASH} FROM (
                    SELECT item, stored.id, {extra_hash} AS extra_hash, {before} AS before
                    FROM (SELECT * FROM {rows}) AS stored, LATERAL (SELECT {columns}) AS item) AS sized) AS page"
        );
        let statement = |name: String, sql: String| Statement {
            name: name.leak(),
            sql: sql.leak(),
            effect: Effect::Reads,
            access: access(list, &labels),
            max_rows: 200,
        };
        Self {
            page: statement(name.clone(), page.sql()),
            tag: statement(name + "_tag", tag),
            filters,
        }
    }
}

/// Returns the FROM, ORDER BY and LIMIT of a list's statement.
///
/// PostgreSQL assumes that the rows that match a filter are spread evenly over the table. If an agent wrote a third of all messages, PostgreSQL would
/// read all messages by time until it has found enough of that agent's messages. If the agent has not written for long, PostgreSQL would read many
/// rows in vain. So a filtered page is read as a range of the index that begins with the filters' columns. If the range has fewer rows than the page
/// needs, the scan continues with rows that have other values, and an outer WHERE drops them.
///
/// An ORDER BY that begins with the column of a filter makes PostgreSQL read every partition of a table. So the messages of an agent or a
/// channel are selected by the list's `condition`, and sorted by time only. The condition compares with `(SELECT $5::uuid)`, so the planner
/// doesn't know the value, and assumes an agent or channel of average size. If the planner expected fewer rows than the page needs, it would
/// sort all of them instead of reading them in order, which is slow for a busy channel. So these lists also use [`UNKNOWN_LIMIT`], with which
/// the planner assumes that the query needs a fifth of the rows.
fn rows(list: &ListOf, filters: &[&'static Filter]) -> String {
    let parent_column = list.parent.as_ref().and_then(|parent| parent.column);
    let mut number = 4 + usize::from(list.parent.is_some());
    let mut columns: Vec<_> = parent_column
        .map(|column| (column, "$5::uuid".to_owned()))
        .into_iter()
        .collect();
    for filter in filters {
        let cast = match filter.parameter.field_type {
            FieldType::Boolean => {
                columns.push((filter.column, "true".to_owned()));
                continue;
            }
            FieldType::Uuid => "uuid",
            _ => "text",
        };
        number += 1;
        columns.push((filter.column, format!("${number}::{cast}")));
    }
    let each = |columns: &[(&str, String)], part: &dyn Fn(&str, &str) -> String| -> String {
        columns
            .iter()
            .map(|(column, value)| part(column, value))
            .collect()
    };
    let equal = each(&columns, &|column, value| {
        format!(" AND {column} = {value}")
    });
    let (condition, range) = if list.is_small {
        ([list.condition, &equal].concat(), &[][..])
    } else {
        (list.condition.to_owned(), &columns[..])
    };
    let order = list.order.of(filters);
    let (table, limit, key, direction) = (list.table, list.limit, order.key(), order.direction());
    let rows = format!(
        "public.{table} WHERE {condition} AND ({}{key}, id{}{}{} ORDER BY {}{key}{direction}, id{direction}{limit}",
        each(range, &|column, _| format!("{column}, ")),
        order.comparison(),
        each(range, &|_, value| format!("(SELECT {value}), ")),
        order.cursor(),
        each(range, &|column, _| format!("{column}{direction}, ")),
    );
    if range.is_empty() {
        return rows;
    }
    format!("(SELECT * FROM {rows}) AS range WHERE true{equal}")
}

/// Returns the indexes that a list's statement uses. `labels` are the labels of its filters.
fn access(list: &ListOf, labels: &[&str]) -> Access {
    let parent = list.parent.as_ref().map_or(&[][..], |parent| parent.index);
    let of_filters = list.filters.indexes.iter().find(|(of, _)| *of == labels);
    match of_filters.map_or(&[][..], |(_, indexes)| *indexes) {
        [] if list.is_small => Access::Scans(
            "there are hundreds of rows: to read them all costs as much as to find some",
        ),
        [index] => Access::Indexes([parent, &[*index]].concat().leak()),
        any => Access::IndexesAndOneOf(parent, any),
    }
}

/// Returns the tag of a page, [`TAG_LENGTH`] digits long. The tag changes with the rows, the list's statement and the version, and is the same
/// on all servers.
fn page_tag(list: &Combination, rows: &str) -> String {
    let mut hasher = XxHash64::with_seed(0);
    // The tag includes the version, because other parts of the response, such as the Link header, may change with the version.
    for part in [list.page.sql, rows, VERSION] {
        hasher.write(part.as_bytes());
    }
    format!("{:016x}", hasher.finish())
}

impl Items {
    /// Converts the answer of a list's page statement; `None` if the parent row doesn't exist.
    fn of(list: &Combination, answer: Answer) -> Option<Self> {
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
/// If pages of the list may be cached, always reads the page, because reading only tags would never fill the cache.
pub(super) async fn items(
    db: &Db,
    all: &'static List,
    page: Page,
    parent: Option<Uuid>,
) -> Result<Option<Items>, DbError> {
    let given = page
        .filters
        .iter()
        .enumerate()
        .filter(|(_, value)| value.is_some());
    let given = given.fold(0, |given, (i, _)| given | 1 << i);
    let Some(list) = all.combinations.get(given) else {
        return Err(DbError::Other {
            statement: "list",
            reason: format!("it has no combination {given} of filters"),
        });
    };
    let mut parameters = vec![
        Parameter::Int64(page.key),
        uuid(page.id),
        Parameter::Int32(page.limit),
        Parameter::Int64(page.offset),
    ];
    parameters.extend(parent.map(uuid));
    let values = page.filters.iter().rev().flatten();
    parameters.extend(
        list.filters
            .iter()
            .zip(values)
            .filter_map(|(filter, value)| match filter.parameter.field_type {
                FieldType::Boolean => None,
                FieldType::Uuid => Some(Parameter::Uuid(value.clone())),
                _ => Some(text(value)),
            }),
    );
    if all.of.is_cached && db.caches() {
        let answer = db.cached(all.of.table, &list.page, parameters).await?;
        return Ok(Items::of(list, answer));
    }
    // For a client that has just written, this step is skipped. The page has likely changed, and the tag's statement would need another query
    // for the replica's position.
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
/// Whole hours and the remaining microseconds are added separately, because PostgreSQL multiplies intervals by floats. A single interval of
/// microseconds would be rounded after the year 2255.
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
    /// Like [`Oldest`](Self::Oldest), with NULLS FIRST. Only `agents_created_at_idx` has this order, so PostgreSQL uses no other index. NULLS
    /// FIRST doesn't change the order of the rows, because the columns are never NULL.
    OldestNullsFirst,
    /// By time, the newest first.
    Newest,
    /// Like [`Newest`](Self::Newest), but the rows of a page are shown oldest first. The next page has older rows.
    NewestLast,
    /// By `order_index`, the position of a workflow's task.
    Position,
}

impl Order {
    /// Returns the order of a list with these filters. [`OldestNullsFirst`](Self::OldestNullsFirst) is for lists without filters only, because
    /// its index contains all rows.
    fn of(self, filters: &[&Filter]) -> Self {
        match self {
            Self::OldestNullsFirst if !filters.is_empty() => Self::Oldest,
            order => order,
        }
    }

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

    /// The cursor's values, with which the key and the id of a row are compared.
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

    /// A page's JSON: the rows that fit, without the array's brackets. [`Items::of`] adds the brackets, because PostgreSQL would copy the full text
    /// to add a bracket, which takes a tenth of the statement's time.
    pub(super) const fn json(self) -> &'static str {
        match self {
            Self::NewestLast => {
                "coalesce(string_agg(json, ',' ORDER BY key, id) FILTER (WHERE fits), '')"
            }
            _ => "coalesce(string_agg(json, ',') FILTER (WHERE fits), '')",
        }
    }

    /// The cursor of the next page: the key and id of this page's last row, or of its first row for [`NewestLast`](Self::NewestLast). For
    /// `NewestLast`, each aggregate has its own sort, because an unsorted aggregate next to a sorted one has an undefined order.
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

/// The part of a page's tag that depends on its rows: their number, and a hash of the rows that may fit. The hash is of the rows' values
/// instead of their JSON, because building the JSON takes most of a page's time.
pub(super) const ROWS_TAG: &str = "count(*) || '.' || coalesce(sum(hash), 0)";

/// The hash of a row that may fit into the page. A record's hash is the sum of its columns' hashes (times powers of 31). So each row is hashed
/// with a seed of its own; with equal seeds, the sum over two rows would not change if the rows swapped a value.
///
/// `extra_hash` is the hash of a jsonb column's text. The text's hash is needed if the column can change without a change of the row's times,
/// because PostgreSQL gives some jsonb values that differ only in their nesting the same hash (`{"a": [1], "b": 2}`, `{"a": [1, "b", 2]}`).
pub(super) const ROW_HASH: &str = "CASE WHEN 2097152 > before THEN hash_record_extended(item, uuid_hash_extended(id, 0)) # extra_hash END AS hash";

/// LIMIT and OFFSET of a page.
pub(super) const LIMIT: &str = " LIMIT $3::int OFFSET $4::bigint";

/// Like [`LIMIT`], but the planner doesn't know the values; [`rows`] explains the reason.
pub(super) const UNKNOWN_LIMIT: &str = " LIMIT (SELECT $3::int) OFFSET (SELECT $4::bigint)";

/// A statement that reads a page of rows, and returns the columns `json` and `note`. The page ends after `limit` rows, or after the row that
/// reaches 2 MiB of JSON, because sixteen requests share an instance's memory.
pub(super) struct PageOf<'a> {
    /// The first column: an expression on the rows `page`, which have the columns `key`, `id`, `hash`, `json` and `fits`.
    pub json: &'a str,
    /// The second column: an expression on the same rows, for example for the cursor of the next page.
    pub note: &'a str,
    /// The column that is the first part of the cursor.
    pub key: &'a str,
    /// The columns of a row as the API shows it.
    pub columns: &'a str,
    /// The length of a row's long texts. The length is cheap to compute, so rows that can't fit are excluded before the conversion to JSON.
    pub text_bytes: Option<&'a str>,
    /// See [`ROW_HASH`].
    pub extra_hash: &'a str,
    /// The text after FROM, including WHERE, ORDER BY and LIMIT.
    pub rows: &'a str,
}

impl PageOf<'_> {
    /// Returns the statement. OFFSET 0 keeps PostgreSQL from building the JSON twice.
    pub fn sql(&self) -> String {
        let Self {
            json,
            note,
            key,
            columns,
            extra_hash,
            rows,
            ..
        } = self;
        let before = self.before();
        format!(
            "SELECT {json}, {note} FROM (
                SELECT key, id, hash, json, json IS NOT NULL AND 2097152 > coalesce(
                    sum(octet_length(json)) OVER (ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) AS fits
                FROM (
                    SELECT key, id, {ROW_HASH}, CASE WHEN 2097152 > before THEN row_to_json(item)::text END AS json
                    FROM (
                        SELECT item, {extra_hash} AS extra_hash, stored.id, stored.{key} AS key, {before} AS before
                        FROM (SELECT * FROM {rows}) AS stored, LATERAL (SELECT {columns}) AS item) AS sized
                    OFFSET 0) AS line) AS page"
        )
    }

    /// Returns the total length of the long texts in the rows before this one.
    fn before(&self) -> String {
        match self.text_bytes {
            None => "0".to_owned(),
            Some(bytes) => format!(
                "coalesce(sum({bytes}) OVER (ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0)"
            ),
        }
    }
}

pub(super) use key_time;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queries::{LISTS, agents};
    use crate::schema;

    #[test]
    fn a_page_starts_at_the_later_of_cursor_and_since_time() {
        let from = |key, id, since_us| {
            let page = Page {
                key,
                id,
                limit: 1,
                offset: 0,
                filters: vec![],
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
        let [all, active, ..] = &*agents::AGENT_LIST.combinations else {
            panic!("no combinations");
        };
        let tag = page_tag(all, "2.17");
        assert_eq!(tag.len(), TAG_LENGTH);
        assert_eq!(tag, page_tag(all, "2.17"));
        assert_ne!(tag, page_tag(all, "2.18"));
        assert_ne!(tag, page_tag(active, "2.17"));
    }

    #[test]
    fn the_page_tag_is_computed_from_the_note_without_its_cursor() {
        let all = &agents::AGENT_LIST.combinations[0];
        let items = |note: &str| {
            let (json, note) = (Some("1,2".to_owned()), Some(note.to_owned()));
            Items::of(all, Answer { json, note }).unwrap()
        };
        let last = items("2.-17");
        assert_eq!((last.json.as_deref(), last.next), (Some("[1,2]"), None));
        let first = items("2.-17 5.id");
        assert_eq!(first.next.as_deref(), Some("5.id"));
        assert_eq!(first.tag, last.tag);
        assert!(Items::of(all, Answer::default()).is_none());
    }

    #[test]
    fn every_combination_of_filters_declares_its_indexes() {
        for list in LISTS {
            for combination in &list.combinations {
                let labels: Vec<_> = combination
                    .filters
                    .iter()
                    .map(|filter| filter.label)
                    .collect();
                let declared = list
                    .of
                    .filters
                    .indexes
                    .iter()
                    .filter(|(of, _)| *of == labels);
                assert_eq!(declared.count(), 1, "{}: {labels:?}", combination.page.name);
            }
            assert_eq!(list.of.filters.indexes.len(), list.combinations.len());
        }
    }

    const fn filter(field_type: FieldType, column: &'static str) -> Filter {
        Filter {
            parameter: schema::Parameter::new(field_type, ""),
            column,
            label: "",
        }
    }
    static STATUS: Filter = filter(FieldType::OneOf(&["open"]), "status");
    static IS_URGENT: Filter = filter(FieldType::Boolean, "is_urgent");
    static CHANNEL: Filter = filter(FieldType::Uuid, "channel_id");

    #[test]
    fn filters_are_numbered_in_the_order_of_their_columns() {
        let rows = |filters: &[&'static Filter]| {
            let list = ListOf {
                table: "tasks",
                parent: Some(Parent {
                    table: "agents",
                    index: &["agents_pkey"],
                    column: Some("assigned_to"),
                }),
                order: Order::Position,
                ..ListOf::ROWS
            };
            rows(&list, filters)
        };
        let cursor = Order::Position.cursor();
        assert_eq!(
            rows(&[]),
            format!(
                "(SELECT * FROM public.tasks WHERE true AND (assigned_to, order_index, id) > ((SELECT $5::uuid), {cursor} \
                ORDER BY assigned_to, order_index, id LIMIT $3::int OFFSET $4::bigint) AS range \
                WHERE true AND assigned_to = $5::uuid"
            )
        );
        assert_eq!(
            rows(&[&CHANNEL, &IS_URGENT, &STATUS]),
            format!(
                "(SELECT * FROM public.tasks WHERE true AND (assigned_to, channel_id, is_urgent, status, order_index, id) > \
                ((SELECT $5::uuid), (SELECT $6::uuid), (SELECT true), (SELECT $7::text), {cursor} \
                ORDER BY assigned_to, channel_id, is_urgent, status, order_index, id LIMIT $3::int OFFSET $4::bigint) AS range \
                WHERE true AND assigned_to = $5::uuid AND channel_id = $6::uuid AND is_urgent = true AND status = $7::text"
            )
        );
    }
}
