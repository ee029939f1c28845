//! Texts that are served as they stand, kept compressed in the component: build.rs packs them. They say nothing of their own.

use miniz_oxide::inflate::decompress_to_vec_with_limit;

use super::problem::ApiError;

/// The API's description.
pub const OPENAPI: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/openapi.json"));
/// The same for eyes.
pub const DOCS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/docs.html"));
/// The report for eyes.
pub const PERFORMANCE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/performance.html"));

const MAX_BYTES: usize = 1024 * 1024;

/// The text, unpacked.
pub fn unpack(packed: &[u8]) -> Result<String, ApiError> {
    decompress_to_vec_with_limit(packed, MAX_BYTES)
        .ok()
        .and_then(|text| String::from_utf8(text).ok())
        .ok_or(ApiError::Bug("a packed text can't be unpacked"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_packed_comes_out_again() {
        for (packed, text) in [
            (OPENAPI, include_str!("../../openapi.json")),
            (DOCS, include_str!("docs.html")),
            (PERFORMANCE, include_str!("performance.html")),
        ] {
            assert_eq!(unpack(packed).unwrap(), text);
        }
    }

    #[test]
    fn what_is_broken_is_told() {
        assert!(unpack(b"neither text nor packed").is_err());
    }
}
