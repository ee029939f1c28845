//! Writes log lines for the operator to stderr. The host doesn't use `eprintln!`, because `eprintln!` panics if the reader of stderr has gone.
//! The panic would end requests, or the task that waits for the stop signal.

use std::borrow::Cow;

/// Like `eprintln!`, but ignores write errors and escapes hidden characters.
macro_rules! log {
    ($($line:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stderr(), "{}", $crate::log::printable(&format!($($line)*)));
    }};
}

pub(crate) use log;

/// Escapes control and format characters, because a request's path may contain them and a terminal may interpret them.
pub fn printable(line: &str) -> Cow<'_, str> {
    let is_plain = |c: char| c == ' ' || c.is_ascii_graphic();
    if line.chars().all(is_plain) {
        return line.into();
    }
    let mut escaped = String::with_capacity(line.len());
    for c in line.chars() {
        if is_plain(c) {
            escaped.push(c);
        } else {
            // `escape_debug` doesn't change printable characters.
            escaped.extend(c.escape_debug());
        }
    }
    escaped.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_and_format_characters_are_escaped() {
        for hidden in [
            '\n',
            '\r',
            '\t',
            '\u{1b}',
            '\u{7f}',
            '\u{85}',
            '\u{9b}',
            '\u{ad}',
            '\u{200b}',
            '\u{200e}',
            '\u{202e}',
            '\u{2028}',
            '\u{2029}',
            '\u{2066}',
            '\u{feff}',
            '\u{e0041}',
        ] {
            let line = format!("a{hidden}b");
            let escaped = printable(&line);
            assert!(
                escaped.starts_with("a\\") && !escaped.contains(hidden),
                "{escaped}"
            );
        }
        for shown in ["GET /a\"b'c\\d", "größer", "日本"] {
            assert_eq!(printable(shown), shown);
        }
    }
}
