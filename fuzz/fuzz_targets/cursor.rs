//! Fuzz target: keyset cursors. A written cursor must be read back unchanged, and text in any other form must be rejected.
//!
//! `is_cursor` checks the form that openapi.json describes. It must not use the component's own parser, because this target tests that parser.
#![no_main]

use libfuzzer_sys::fuzz_target;
use reznet_fuzz::cursor;

/// The positions of the hyphens in a UUID.
const HYPHENS: [usize; 4] = [8, 13, 18, 23];

fuzz_target!(|input: (i64, u128, Vec<(u8, char)>, String)| {
    let (key, id, edits, text) = input;
    let mut digits = format!("{id:032x}");
    for at in HYPHENS {
        digits.insert(at, '-');
    }
    let valid = format!("{key}.{digits}");
    let read = cursor(&valid).map(|(key, id)| format!("{key}.{id}"));
    assert_eq!(
        read.as_deref(),
        Some(valid.as_str()),
        "a valid cursor must be read back unchanged"
    );

    // Checks a nearly valid cursor, which finds more bugs than random text.
    let mut nearly: Vec<char> = format!("{key}.{digits}").chars().collect();
    for (at, new) in edits {
        let at = usize::from(at) % (nearly.len() + 1);
        match nearly.get_mut(at) {
            Some(old) => *old = new,
            None => nearly.push(new),
        }
    }
    check(&nearly.into_iter().collect::<String>());
    check(&text);
});

fn check(text: &str) {
    let read = cursor(text);
    assert_eq!(
        read.is_some(),
        is_cursor(text),
        "parsing {text:?} gives {read:?}"
    );
    let Some((key, id)) = read else { return };
    let written = format!("{key}.{id}");
    assert_eq!(
        cursor(&written),
        Some((key, id)),
        "{text:?} is written as {written:?}, which is read differently"
    );
    // Parsing may change only the key of the cursor. The key loses leading zeros, and a key outside of i64 becomes the nearest i64.
    let (number, rest) = text.split_once('.').expect("is_cursor has checked this");
    let number: i128 = number.parse().expect("is_cursor has checked this");
    let number = number.clamp(i64::MIN.into(), i64::MAX.into());
    assert_eq!(written, format!("{number}.{rest}"));
}

/// Matches `^-?[0-9]{1,19}[.][0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$`.
fn is_cursor(text: &str) -> bool {
    let Some((key, id)) = text.split_once('.') else {
        return false;
    };
    let digits = key.strip_prefix('-').unwrap_or(key);
    let is_key =
        (1..=19).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
    let form = |(at, byte)| match byte {
        b'-' => HYPHENS.contains(&at),
        b'0'..=b'9' | b'a'..=b'f' => !HYPHENS.contains(&at),
        _ => false,
    };
    is_key && id.len() == 36 && id.bytes().enumerate().all(form)
}
