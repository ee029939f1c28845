//! Fuzz target: the header `traceparent`. For any header, a request's id must be 32 lower-case hex digits. The id is the trace
//! id if the header is valid by the standard (<https://www.w3.org/TR/trace-context/>), otherwise a random UUID.
//!
//! This target must not use the component's own parser to check a header, because it tests that parser.
#![no_main]

use libfuzzer_sys::fuzz_target;
use reznet_fuzz::request_id;

/// The version that the standard forbids.
const FORBIDDEN: u8 = 0xff;

/// The position of the trace id's bytes in a header.
const TRACE: std::ops::Range<usize> = 3..35;

/// The four fields of a valid header, edits that make it nearly valid (positions and new bytes), and the bytes of an arbitrary header.
type Input = (u8, u128, u64, u8, Vec<(u8, u8)>, Vec<u8>);

fuzz_target!(|input: Input| {
    let (version, trace, parent, flags, edits, text) = input;
    let valid = format!("{version:02x}-{trace:032x}-{parent:016x}-{flags:02x}");
    let id = check(valid.as_bytes());
    if version != FORBIDDEN && trace != 0 && parent != 0 {
        assert_eq!(id, Some(format!("{trace:032x}")), "{valid}");
    } else {
        assert_random(id.as_deref(), &valid);
    }
    // In version 0, nothing may follow the flags. In later versions, more fields may follow after another hyphen.
    let more = check(format!("{valid}-more").as_bytes());
    if version == 0 {
        assert_random(more.as_deref(), "version 00 with a further field");
    }
    assert_random(
        check(format!("{valid}more").as_bytes()).as_deref(),
        "no hyphen before the further field",
    );

    // Checks a nearly valid header, which finds more bugs than random bytes.
    let mut nearly = valid.into_bytes();
    for (at, new) in edits {
        let at = usize::from(at) % (nearly.len() + 1);
        match nearly.get_mut(at) {
            Some(old) => *old = new,
            None => nearly.push(new),
        }
    }
    check(&nearly);
    check(&text);
});

/// Checks and returns the id for this header, or `None` if a header can't contain these bytes.
fn check(header: &[u8]) -> Option<String> {
    let id = request_id(header)?;
    let digits = id
        .bytes()
        .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    assert!(
        digits && id.len() == 32,
        "{id:?} for {:?}",
        header.escape_ascii().to_string()
    );
    assert_ne!(
        id,
        "0".repeat(32),
        "{:?}",
        header.escape_ascii().to_string()
    );
    if header.get(TRACE) != Some(id.as_bytes()) {
        assert_random(Some(&id), &header.escape_ascii().to_string());
    }
    Some(id)
}

/// Asserts that an id has the version and variant of a random UUID (version 4, RFC 9562). Accepts `None`.
fn assert_random(id: Option<&str>, header: &str) {
    let marks = id.map(|id| (id.as_bytes()[12], id.as_bytes()[16]));
    assert!(
        matches!(marks, None | Some((b'4', b'8' | b'9' | b'a' | b'b'))),
        "{id:?} isn't random, for {header:?}"
    );
}
