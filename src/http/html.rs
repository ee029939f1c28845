//! The HTML pages: the properties that their operations share, and their responses. Each page is one file.

use axum::http::HeaderValue;
use axum::http::header::CONTENT_SECURITY_POLICY;

use super::contract::{Audience, Operation};
use super::reply::Reply;
use crate::schema::FieldType;

/// The properties that operations with an HTML page share. A page contains no data, so it needs no token. The page's script requests the data,
/// with a token if one is required.
pub const OPERATION: Operation = Operation {
    answer: FieldType::Text {
        min: 1,
        max: 60_000,
    },
    media_type: "text/html; charset=utf-8",
    audience: Audience::Everyone,
    query_count: 0,
    ..Operation::GET
};

/// Returns a page with its Content-Security-Policy. The policy allows requests to this server, and the page's own style and
/// script by their hashes.
pub fn page(page: &'static str, policy: HeaderValue) -> Reply {
    Reply::text(OPERATION.media_type, page).with(CONTENT_SECURITY_POLICY, policy)
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use sha2::{Digest, Sha256};

    /// The pages, with their file names in this folder.
    const PAGES: [(&str, &str); 2] = [
        ("docs", include_str!("docs.html")),
        ("performance", include_str!("performance.html")),
    ];

    /// Returns the hash of an element's content in the form of a Content-Security-Policy.
    fn hash_of(element: &str, page: &str) -> String {
        let (open, close) = (format!("<{element}>"), format!("</{element}>"));
        assert_eq!(page.matches(&open).count(), 1, "{open}");
        let (_, rest) = page.split_once(&open).unwrap();
        let (content, _) = rest.split_once(&close).unwrap();
        format!("'sha256-{}'", STANDARD.encode(Sha256::digest(content)))
    }

    #[test]
    fn each_page_policy_allows_only_its_own_style_and_script() {
        for (name, page) in PAGES {
            let file = format!("src/http/{name}.csp");
            let expected = format!(
                "default-src 'none'; connect-src 'self'; img-src data:; style-src {}; script-src {}; base-uri 'none'; \
                 form-action 'none'; frame-ancestors 'none'",
                hash_of("style", page),
                hash_of("script", page),
            );
            if std::env::var_os("UPDATE").is_some() {
                std::fs::write(&file, format!("{expected}\n")).expect("a policy can be written");
            }
            let found = std::fs::read_to_string(&file).unwrap_or_default();
            assert_eq!(
                found.trim_ascii(),
                expected,
                "{file} is out of date: run UPDATE=1 cargo test -p reznet-edge policy"
            );
        }
    }

    #[test]
    fn pages_are_small_and_self_contained() {
        for (name, page) in PAGES {
            assert!(page.len() < 60_000, "{name}: {} bytes", page.len());
            for forbidden in [
                "https:",
                "src=",
                "@import",
                "url(",
                "innerHTML",
                "insertAdjacentHTML",
                "localStorage",
                " style=",
                " onclick=",
            ] {
                assert!(!page.contains(forbidden), "{name}: {forbidden}");
            }
        }
    }
}
