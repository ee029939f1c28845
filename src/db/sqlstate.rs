//! The meaning of each SQLSTATE for a request: how the request is answered, whether the statement is sent once more, whether the session can be
//! used again, and the advice for the operator. docs/operations.md has the same table.
//!
//! The module also decides whether the migrations create an object that PostgreSQL doesn't find. PostgreSQL's messages are translated, so the
//! code never reads them.

use spin_sdk::pg::DbError as ServerError;

/// How the API answers and logs a failed statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The database can't run the statement now.
    Unavailable,
    /// The database lacks an object that the migrations create.
    NotMigrated,
    /// The API's role lacks a privilege.
    NotPermitted,
    /// A time limit ended the statement.
    TimedOut,
    /// A bug in the component, or an error in an object that the migrations don't create.
    Failed,
}

/// Whether the statement may be sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeat {
    /// The statement was not executed, and would most likely fail again, so it is not sent again.
    Never,
    /// The statement was not executed, and the next attempt may succeed, so it is sent again.
    Always,
    /// The statement may have been executed, so it is sent again only if executing it twice does no harm.
    IfHarmless,
}

/// The meaning of a SQLSTATE.
#[derive(Debug)]
pub struct Meaning {
    /// The SQLSTATE of five characters, or the first two for all other SQLSTATEs of a class.
    pub sqlstate: &'static str,
    /// The answer to the request. If the missing object isn't ours, [`Failure::Failed`] replaces [`Failure::NotMigrated`].
    pub failure: Failure,
    /// Whether the statement is sent once more.
    pub repeat: Repeat,
    /// Whether the session can be used for the next statement.
    pub keeps_session: bool,
    /// Advice for the operator.
    pub advice: &'static str,
}

const KEPT: bool = true;
const CLOSED: bool = false;

const fn unavailable(
    sqlstate: &'static str,
    repeat: Repeat,
    keeps_session: bool,
    advice: &'static str,
) -> Meaning {
    Meaning {
        sqlstate,
        failure: Failure::Unavailable,
        repeat,
        keeps_session,
        advice,
    }
}

const fn absent(sqlstate: &'static str) -> Meaning {
    Meaning {
        sqlstate,
        failure: Failure::NotMigrated,
        repeat: Repeat::Never,
        keeps_session: KEPT,
        advice: "run scripts/migrate",
    }
}

const POOLER_STATEMENTS: &str =
    "let the pooler keep prepared statements (PgBouncer 1.21 or newer: max_prepared_statements)";

/// Every SQLSTATE that a database may return even if the component has no bug, by class.
pub const MEANINGS: &[Meaning] = &[
    unavailable(
        "08",
        Repeat::IfHarmless,
        CLOSED,
        "check that PostgreSQL runs, and the log of a pooler in front of it",
    ),
    unavailable(
        "0A000",
        Repeat::Always,
        CLOSED,
        "nothing after a change of the schema; on a standby point db_url to the primary; else see PostgreSQL's message",
    ),
    unavailable(
        "25",
        Repeat::Always,
        CLOSED,
        "check the mode of the pooler: it lent a session with a transaction of somebody else",
    ),
    unavailable(
        "25006",
        Repeat::Never,
        CLOSED,
        "after a failover nothing, once db_url leads to the new primary; else end what makes the server read-only",
    ),
    unavailable(
        "25P03",
        Repeat::Always,
        CLOSED,
        "raise idle_in_transaction_session_timeout of the role or the database if this is frequent",
    ),
    unavailable(
        "25P04",
        Repeat::Never,
        CLOSED,
        "raise transaction_timeout of the role or the database above db_statement_timeout_ms",
    ),
    unavailable("26000", Repeat::Always, CLOSED, POOLER_STATEMENTS),
    unavailable(
        "28",
        Repeat::Never,
        CLOSED,
        "check the user and the password in db_url, and pg_hba.conf",
    ),
    unavailable(
        "3D000",
        Repeat::Never,
        CLOSED,
        "create the database, or check its name in db_url",
    ),
    absent("3F000"),
    unavailable(
        "40",
        Repeat::Always,
        KEPT,
        "find the other transaction if this is frequent (pg_stat_activity, PostgreSQL's log)",
    ),
    unavailable(
        "40003",
        Repeat::IfHarmless,
        CLOSED,
        "check that PostgreSQL runs, and its log",
    ),
    Meaning {
        sqlstate: "42501",
        failure: Failure::NotPermitted,
        repeat: Repeat::Never,
        keeps_session: KEPT,
        advice: "run scripts/migrate grant; where a trigger, function or policy of your own needs the privilege, grant it to reznet_app",
    },
    absent("42703"),
    absent("42704"),
    absent("42883"),
    absent("42P01"),
    unavailable("42P05", Repeat::Always, CLOSED, POOLER_STATEMENTS),
    absent("42P10"),
    unavailable(
        "53",
        Repeat::Never,
        KEPT,
        "free the resource that PostgreSQL's message names",
    ),
    unavailable(
        "53100",
        Repeat::Never,
        KEPT,
        "free space on the disk of PostgreSQL, or raise the quota",
    ),
    unavailable(
        "53200",
        Repeat::Never,
        KEPT,
        "give PostgreSQL more memory, or lower work_mem or max_connections",
    ),
    unavailable(
        "53300",
        Repeat::Never,
        CLOSED,
        "allow PostgreSQL more connections, or this host fewer ([outbound_pg] max_connections)",
    ),
    unavailable(
        "53400",
        Repeat::Never,
        KEPT,
        "raise the limit that PostgreSQL's message names, as temp_file_limit",
    ),
    unavailable(
        "55P03",
        Repeat::Never,
        KEPT,
        "find the session that holds the lock (pg_blocking_pids); lock_timeout of the role or the database says how long it is waited for",
    ),
    unavailable(
        "57",
        Repeat::IfHarmless,
        CLOSED,
        "nothing if PostgreSQL is being restarted; else see its log",
    ),
    Meaning {
        sqlstate: "57014",
        failure: Failure::TimedOut,
        repeat: Repeat::Never,
        keeps_session: CLOSED,
        advice: "see why the statement takes so long; db_statement_timeout_ms is its limit",
    },
    unavailable(
        "57P03",
        Repeat::Never,
        CLOSED,
        "wait until PostgreSQL has started; else see its log",
    ),
    unavailable(
        "57P04",
        Repeat::Never,
        CLOSED,
        "create the database, or check its name in db_url",
    ),
    unavailable(
        "57P05",
        Repeat::Always,
        CLOSED,
        "raise idle_session_timeout of the role or the database if this is frequent",
    ),
    unavailable(
        "58",
        Repeat::Never,
        CLOSED,
        "see PostgreSQL's log: it can't read or write its files",
    ),
    Meaning {
        sqlstate: "XX",
        failure: Failure::Failed,
        repeat: Repeat::Never,
        keeps_session: CLOSED,
        advice: "see the log of PostgreSQL or of the proxy in front of it: an internal error, or damaged data",
    },
];

/// Any other SQLSTATE.
pub const OTHER: Meaning = Meaning {
    sqlstate: "any other",
    failure: Failure::Failed,
    repeat: Repeat::Never,
    keeps_session: KEPT,
    advice: "a trigger, constraint or function of your own, or else a bug: report it",
};

/// Returns the meaning of a SQLSTATE: its own entry, else that of its class, else [`OTHER`].
#[must_use]
pub fn meaning(sqlstate: &str) -> &'static Meaning {
    let find = |wanted: &str| MEANINGS.iter().find(|meaning| meaning.sqlstate == wanted);
    let class = sqlstate.get(..2).unwrap_or_default();
    find(sqlstate).or_else(|| find(class)).unwrap_or(&OTHER)
}

// --- missing objects ---

/// The functions that the migrations create. A test compares the list with the migrations' files.
const FUNCTIONS: &[&str] = &[
    "execute_now",
    "server_statements",
    "stats_count",
    "workflow_changed",
    "workflow_settle",
    "workflow_starts",
    "workflow_task_added",
    "workflow_task_can_start",
    "workflow_task_ended",
    "write_once",
];

/// The schemas in which the migrations create objects.
const SCHEMAS: &[&str] = &["public", "profile"];

/// Returns true if the migrations create the object that the server doesn't find. `texts` are the SQL that was sent, and the write in it.
///
/// PostgreSQL reports no name for a missing object. But it reports the SQL text, the position in that text, and the function, if any. So the
/// object counts as ours if one of our statements or functions names the object.
pub fn is_ours(error: &ServerError, texts: &[&str]) -> bool {
    let context = extra(error, "where_");
    let (text, position) = match Position::of(&error.as_text, texts) {
        Some(Position::InText(text, position)) => (text, position),
        // The SQL of a function names the object. The function is either one of ours, or that of a trigger that somebody added.
        Some(Position::Elsewhere) => return context.is_some_and(is_our_function),
        // Planner errors have no position, nor have errors at a function's first call, when PL/pgSQL resolves the types of its variables. If the
        // failed statement is inside a function, the error's CONTEXT begins with that statement.
        None => {
            return context
                .is_none_or(|context| begins_with_one(context, texts) || is_our_function(context));
        }
    };
    if error.code == "42703" {
        // Versions of pg_stat_statements have different columns, so the missing column may be one of this view's.
        return !text.contains("pg_stat_statements");
    }
    match name_at(text, position) {
        (Some(schema), _) => SCHEMAS.contains(&schema),
        (None, name) if error.code == "42883" => FUNCTIONS.contains(&name),
        (None, name) => !name.is_empty() && !name.starts_with("pg_"),
    }
}

/// Returns a field of the server's error that `DbError` has no member for.
pub fn extra<'a>(error: &'a ServerError, name: &str) -> Option<&'a str> {
    let found = error.extras.iter().find(|(key, _)| key == name);
    found.map(|(_, value)| value.as_str())
}

/// Whether the first statement of a context, which is the innermost one, is one of `texts`. The words before the statement are translated.
fn begins_with_one(context: &str, texts: &[&str]) -> bool {
    texts.iter().any(|text| {
        let found = context.split_once(text);
        found.is_some_and(|(words, _)| !words.contains('\n'))
    })
}

/// Returns true if the innermost function in an error's CONTEXT is one that the migrations create. The server translates the CONTEXT, except
/// for the function's name.
fn is_our_function(context: &str) -> bool {
    let line = context.lines().next().unwrap_or_default();
    let mut words = line.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.any(|word| FUNCTIONS.contains(&word))
}

/// The position at which a statement names the missing object.
#[derive(Debug, PartialEq, Eq)]
enum Position<'a> {
    /// The position is in one of our statements, at this character, counted from 1.
    InText(&'a str, usize),
    /// The position is in SQL that isn't one of our statements.
    Elsewhere,
}

impl<'a> Position<'a> {
    /// Reads the position from the driver's debug text of the error, because neither `spin:postgres` nor Spin has a field for it.
    fn of(debug: &str, texts: &[&'a str]) -> Option<Self> {
        let after = |words: &str| debug.split_once(words).map(|(_, after)| after);
        if let Some(after) = after("position: Some(Original(") {
            let text = texts.first()?;
            return Some(Self::InText(text, number(after)?));
        }
        let inner = after("position: Some(Internal { position: ")?;
        let position = number(inner)?;
        let (_, query) = inner.split_once("query: ")?;
        let ours = texts
            .iter()
            .find(|text| query.starts_with(&format!("{text:?}")));
        Some(ours.map_or(Self::Elsewhere, |text| Self::InText(text, position)))
    }
}

/// Parses the number at the beginning of a text.
fn number(text: &str) -> Option<usize> {
    let end = text.find(|c: char| !c.is_ascii_digit())?;
    text.get(..end)?.parse().ok()
}

/// Returns the name at a character, counted from 1, and the name's schema if the text has one: `public.agents`, `write_once`.
fn name_at(text: &str, position: usize) -> (Option<&str>, &str) {
    let start = text.char_indices().nth(position.saturating_sub(1));
    let text = start.and_then(|(at, _)| text.get(at..)).unwrap_or_default();
    let is_name = |c: char| c.is_alphanumeric() || c == '_' || c == '.';
    let end = text.find(|c: char| !is_name(c)).unwrap_or(text.len());
    let name = text.get(..end).unwrap_or_default();
    match name.split_once('.') {
        Some((schema, name)) => (Some(schema), name),
        None => (None, name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn absent_object(code: &str, position: &str, context: Option<&str>) -> ServerError {
        let debug = format!(
            "Error {{ kind: Db, cause: Some(DbError {{ code: SqlState(E{code}), message: \"übersetzt\", position: {position}, \
             where_: {context:?} }}) }}"
        );
        let context = context.map(|context| ("where_".to_owned(), context.to_owned()));
        ServerError {
            as_text: debug,
            severity: "FEHLER".to_owned(),
            code: code.to_owned(),
            message: "übersetzt".to_owned(),
            detail: None,
            extras: context.into_iter().collect(),
        }
    }

    #[test]
    fn an_exact_sqlstate_wins_over_its_class() {
        assert_eq!(meaning("57P03").repeat, Repeat::Never);
        assert_eq!(meaning("57P01").sqlstate, "57");
        assert_eq!(meaning("08P01").sqlstate, "08");
        assert_eq!(meaning("22P02").failure, Failure::Failed);
        assert_eq!(meaning("").failure, Failure::Failed);
        assert_eq!(meaning("äöü").failure, Failure::Failed);
    }

    #[test]
    fn the_sqlstate_table_is_sorted_and_has_no_duplicates() {
        let sqlstates: Vec<_> = MEANINGS.iter().map(|meaning| meaning.sqlstate).collect();
        assert!(sqlstates.len() > 20);
        assert!(sqlstates.is_sorted_by(|a, b| a < b), "{sqlstates:?}");
        for sqlstate in sqlstates {
            assert!([2, 5].contains(&sqlstate.len()), "{sqlstate}");
        }
    }

    #[test]
    fn a_missing_project_object_in_our_statement_is_attributed_to_us() {
        let sql = "SELECT a.id FROM public.agents AS a, write_once($1), hash_record_extended(a, 0), pg_stat_statements";
        let at = |name: &str| format!("Some(Original({}))", sql.find(name).unwrap() + 1);
        for (code, position, ours) in [
            ("42P01", at("public.agents"), true),
            ("42703", at("a.id"), false),
            ("42883", at("write_once"), true),
            ("42883", at("hash_record"), false),
            ("42P01", at("pg_stat"), false),
            ("42P10", "None".to_owned(), true),
            ("3F000", "None".to_owned(), true),
        ] {
            let error = absent_object(code, &position, None);
            assert_eq!(is_ours(&error, &[sql]), ours, "{code} {position}");
        }
        let error = absent_object("42703", "Some(Original(8))", None);
        assert!(is_ours(
            &error,
            &["SELECT a.row_tag FROM public.agents AS a"]
        ));
        assert!(!is_ours(
            &error,
            &["SELECT s.wal_bytes FROM pg_stat_statements AS s"]
        ));
    }

    #[test]
    fn error_positions_count_characters_not_bytes() {
        let sql = "SELECT 'äöü' FROM tasks";
        let error = absent_object("42P01", "Some(Original(19))", None);
        assert!(is_ours(&error, &[sql]));
        assert_eq!(name_at(sql, 19), (None, "tasks"));
        assert_eq!(name_at(sql, 1000), (None, ""));
        assert_eq!(name_at(sql, 0), (None, "SELECT"));
    }

    #[test]
    fn a_missing_object_in_a_custom_trigger_is_not_attributed_to_us() {
        let internal = |query: &str| format!("Some(Internal {{ position: 13, query: {query:?} }})");
        let sql = "INSERT INTO public.tasks (description) VALUES ($1)";
        let once = "SELECT * FROM public.write_once($1, $2, $3, $4)";
        for (query, context, ours) in [
            // The error comes from a trigger that somebody added, with messages in two languages.
            (
                "INSERT INTO audit DEFAULT VALUES",
                "PL/pgSQL function audit_tasks() line 3 at SQL statement",
                false,
            ),
            (
                "INSERT INTO audit DEFAULT VALUES",
                "PL/pgSQL-Funktion public.audit_tasks() Zeile 3 bei SQL-Anweisung\nPL/pgSQL-Funktion write_once(text,text,text,text[]) Zeile 9 bei EXECUTE",
                false,
            ),
            // One of our functions doesn't find one of our objects.
            (
                "INSERT INTO idempotency_keys \"x\"\n",
                "PL/pgSQL-Funktion write_once(text,text,text,text[]) Zeile 5 bei SQL-Anweisung",
                true,
            ),
            (
                "UPDATE workflows SET a = 1",
                "PL/pgSQL function public.workflow_task_added() line 2 at SQL statement",
                true,
            ),
            // The text is that of the statement that runs for an idempotency key.
            (
                sql,
                "PL/pgSQL-Funktion write_once(text,text,text,text[]) Zeile 9 bei EXECUTE",
                true,
            ),
        ] {
            let error = absent_object("42P01", &internal(query), Some(context));
            assert_eq!(is_ours(&error, &[once, sql]), ours, "{context}");
        }
        // The planner reports a missing index in a statement that `write_once` runs.
        for (statement, ours) in [(sql, true), ("INSERT INTO audit", false)] {
            let function =
                "PL/pgSQL-Funktion write_once(text,text,text,text[]) Zeile 9 bei EXECUTE";
            let context = format!("SQL-Anweisung »{statement}«\n{function}\nSQL-Anweisung »{sql}«");
            let error = absent_object("42P10", "None", Some(&context));
            assert_eq!(is_ours(&error, &[once, sql]), ours, "{statement}");
        }
        let context = "Kompilierung der PL/pgSQL-Funktion »write_once« nahe Zeile 5";
        assert!(is_ours(
            &absent_object("42704", "None", Some(context)),
            &[once, sql]
        ));
        // Tests a missing object in a function whose SQL the server doesn't report.
        let error = absent_object("42P01", "None", Some("SQL function \"theirs\""));
        assert!(!is_ours(&error, &[sql]));
    }

    #[test]
    fn the_function_list_matches_the_migrations() {
        let mut made = Vec::new();
        for file in std::fs::read_dir("migrations").unwrap() {
            let path = file.unwrap().path();
            if path.is_file() {
                let text = std::fs::read_to_string(path).unwrap();
                made.extend(text.split("FUNCTION ").skip(1).filter_map(|after| {
                    let (name, _) = after.split_once('(')?;
                    let name = name.trim_start_matches("public.");
                    let is_name = |c: char| c.is_ascii_lowercase() || c == '_';
                    (!name.is_empty() && name.chars().all(is_name)).then(|| name.to_owned())
                }));
            }
        }
        made.sort();
        made.dedup();
        assert_eq!(made, FUNCTIONS, "the functions of migrations/*.sql");
    }
}
