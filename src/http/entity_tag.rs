//! Entity tags in headers: `ETag`, `If-Match` and `If-None-Match` (RFC 9110, 8.8.3 and 13.1).

use axum::http::header::{IF_MATCH, IF_NONE_MATCH};
use axum::http::{HeaderMap, HeaderName, HeaderValue};

use crate::queries::{ANY_TAG, IfMatch, TAG_LENGTH};

/// Returns the value of an `ETag` header.
pub fn etag(tag: &str) -> Option<HeaderValue> {
    // Hexadecimal digits between quotes are always a valid value.
    HeaderValue::try_from(format!("\"{tag}\"")).ok()
}

/// Returns the tags in `If-None-Match` (RFC 9110, 13.1.2) that have our format, weak or strong, or are [`ANY_TAG`].
pub fn if_none_match(headers: &HeaderMap) -> Vec<String> {
    let tags = entity_tags(headers, &IF_NONE_MATCH).into_iter();
    tags.map(|(_, tag)| tag).collect()
}

/// Returns the tags in `If-Match` (RFC 9110, 13.1.1) that have our format and are strong; weak tags never match. If the header is present but has no
/// usable tag, no row matches, so an invalid header never permits a write.
pub fn if_match(headers: &HeaderMap) -> IfMatch {
    let mut values = headers.get_all(IF_MATCH).iter();
    match (values.next(), values.next()) {
        (None, _) => return IfMatch(None),
        (Some(only), None) if only.as_bytes().trim_ascii() == ANY_TAG.as_bytes() => {
            return IfMatch(None);
        }
        _ => {}
    }
    let tags = entity_tags(headers, &IF_MATCH).into_iter();
    let tags = tags.filter(|(is_weak, tag)| !is_weak && tag != ANY_TAG);
    IfMatch(Some(tags.map(|(_, tag)| tag).collect()))
}

/// Returns the tags in a header that have our format or are [`ANY_TAG`], each with a flag that is true for a weak tag. Stops reading a value at
/// its first syntax error.
fn entity_tags(headers: &HeaderMap, name: &HeaderName) -> Vec<(bool, String)> {
    let mut tags = Vec::new();
    for value in headers.get_all(name) {
        // Our tags are ASCII, so the conversion of other bytes changes none of them.
        let value = String::from_utf8_lossy(value.as_bytes());
        let mut rest = value.as_ref();
        loop {
            rest = rest.trim_start_matches([' ', '\t', ',']);
            if let Some(after) = rest.strip_prefix(ANY_TAG) {
                tags.push((false, ANY_TAG.to_owned()));
                rest = after;
                continue;
            }
            let (is_weak, quoted) = match rest.strip_prefix("W/") {
                Some(quoted) => (true, quoted),
                None => (false, rest),
            };
            let Some((tag, after)) = quoted
                .strip_prefix('"')
                .and_then(|rest| rest.split_once('"'))
            else {
                break;
            };
            tags.extend(our_tag(tag).map(|tag| (is_weak, tag.to_owned())));
            rest = after;
        }
    }
    tags
}

/// Returns our tag without a proxy's suffix; `None` if `tag` can't be one of ours. Proxies that compress bodies append the name of the coding
/// to the tag of the same row, as Apache does with `"…-gzip"`.
fn our_tag(tag: &str) -> Option<&str> {
    let (ours, suffix) = tag.split_at_checked(TAG_LENGTH)?;
    let coding = suffix.trim_start_matches(['-', ';', '+']);
    let is_ours = ours.bytes().all(|b| b.is_ascii_hexdigit());
    let is_suffix = suffix.is_empty()
        || coding.len() < suffix.len() && ["gzip", "br", "zstd", "deflate"].contains(&coding);
    (is_ours && is_suffix).then_some(ours)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TAG: &str = "0123456789abcdef";

    fn with(name: &HeaderName, values: &[&str]) -> HeaderMap {
        let values = values
            .iter()
            .map(|value| HeaderValue::from_bytes(value.as_bytes()).unwrap());
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(name, value);
        }
        headers
    }

    #[test]
    fn if_match_accepts_only_strong_etags_in_our_format() {
        let of = |values: &[&str]| if_match(&with(&IF_MATCH, values)).0;
        assert_eq!(if_match(&HeaderMap::new()), IfMatch(None));
        assert_eq!(of(&["*"]), None);
        assert_eq!(of(&[" * "]), None);
        let ours = format!("\"{TAG}\"");
        for values in [
            &[&ours[..]][..],
            &[&format!("\"x\", {ours}")],
            &["\"x\"", &ours],
            &[&format!("\"{TAG}-gzip\"")],
            &[&format!("*, {ours}")],
            &[&format!("\"\u{e4}\", {ours}")],
        ] {
            assert_eq!(of(values), Some(vec![TAG.to_owned()]), "{values:?}");
        }
        for never in [
            &format!("W/{ours}"),
            TAG,
            "",
            "\"\"",
            "\"*\"",
            "\"0123456789abcdeg\"",
            "\"0123456789abcdef0\"",
            "*, \"x\"",
            "'0123456789abcdef'",
        ] {
            assert_eq!(of(&[never]), Some(vec![]), "{never}");
        }
    }
}
