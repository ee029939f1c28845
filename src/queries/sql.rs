//! The macro [`sql!`], which stores a statement's text in parts and removes its indentation at compile time. It doesn't parse SQL.
//! A string literal that continues on a second line would lose that line's leading spaces, so no statement may have one.
//!
//! Parts and unindenting reduce the component's size: text that several statements share is stored once, and the indentation is 17 KB.

/// The parts of a statement's text, without the leading spaces of lines. Line breaks stay, because they end SQL comments.
macro_rules! sql {
    ($($part:expr),+ $(,)?) => {
        &[$({
            const INDENTED: &str = $part;
            const BYTES: [u8; $crate::queries::sql::unindented_len(INDENTED)] =
                $crate::queries::sql::unindented(INDENTED);
            const TEXT: &str = match std::str::from_utf8(&BYTES) {
                Ok(text) => text,
                Err(_) => INDENTED,
            };
            TEXT
        }),+]
    };
}

/// Columns with times as the API shows them: in UTC with six digits and `Z`, regardless of the session's settings.
macro_rules! times {
    ($column:literal $(, $more:literal)*) => {
        concat!(
            $crate::queries::sql::time!($column), " AS ", $column
            $(, ", ", $crate::queries::sql::time!($more), " AS ", $more)*
        )
    };
}

/// A time as the API shows it, as text.
macro_rules! time {
    ($time:expr) => {
        concat!(
            "to_char((",
            $time,
            ") AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')"
        )
    };
}

pub(super) use {sql, time, times};

/// Returns the length of `text` without its indentation, in bytes.
pub(super) const fn unindented_len(text: &str) -> usize {
    let (mut rest, mut line_begins, mut len) = (text.as_bytes(), false, 0);
    while let [byte, more @ ..] = rest {
        rest = more;
        if !(line_begins && *byte == b' ') {
            len += 1;
            line_begins = *byte == b'\n';
        }
    }
    len
}

/// Returns `text` without its indentation, which is `LEN` bytes.
pub(super) const fn unindented<const LEN: usize>(text: &str) -> [u8; LEN] {
    let (mut rest, mut line_begins, mut unindented, mut len) =
        (text.as_bytes(), false, [0; LEN], 0);
    while let [byte, more @ ..] = rest {
        rest = more;
        if !(line_begins && *byte == b' ') {
            #[expect(clippy::indexing_slicing, reason = "evaluated by the compiler only")]
            {
                unindented[len] = *byte;
            }
            len += 1;
            line_begins = *byte == b'\n';
        }
    }
    unindented
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_sql_macro_removes_only_indentation() {
        assert_eq!(
            sql![
                "SELECT  1\n   -- naïve  one\n\n      , '  ' ",
                " FROM\n    a"
            ],
            &["SELECT  1\n-- naïve  one\n\n, '  ' ", " FROM\na"]
        );
    }

    #[test]
    fn no_sql_literal_spans_two_lines() {
        for statement in super::super::ALL {
            let sql = statement.sql();
            for line in sql.lines().filter(|line| !line.starts_with("--")) {
                let quotes = line.matches('\'').count();
                assert!(quotes % 2 == 0, "{}: {line}", statement.name);
            }
        }
    }
}
