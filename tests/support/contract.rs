//! Checks every response of every test against openapi.json, and records the operation and status of each response.

use std::collections::{BTreeSet, HashMap};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::PathBuf;
use std::sync::{LazyLock, Mutex};

use http::{Method, StatusCode};
use jsonschema::Validator;
use serde_json::{Value, json};

use crate::{Answer, project};

/// The document that the component serves at `/api/openapi.json`, parsed from the file of this name in the repository.
pub static OPENAPI: LazyLock<Value> = LazyLock::new(|| {
    let text =
        std::fs::read_to_string(project().join("openapi.json")).expect("openapi.json is there");
    serde_json::from_str(&text).expect("openapi.json is JSON")
});

/// One operation of openapi.json.
#[derive(Clone, Debug)]
pub struct Operation {
    /// The operationId.
    pub id: String,
    /// The method.
    pub method: Method,
    /// The path, with parameters in braces.
    pub path: String,
    /// The operation object of the document.
    pub described: Value,
}

impl Operation {
    /// Returns the path, with every parameter replaced by `value`.
    #[must_use]
    pub fn path_with(&self, value: &str) -> String {
        let segments = self.path.split('/');
        let filled = segments.map(|segment| {
            if segment.starts_with('{') {
                value
            } else {
                segment
            }
        });
        filled.collect::<Vec<_>>().join("/")
    }

    /// Returns a valid body if the operation takes a body. The body is the first example of the schema.
    #[must_use]
    pub fn example(&self) -> Option<Value> {
        let body = &self.described["requestBody"]["content"]["application/json"]["schema"]["$ref"];
        let pointer = body.as_str()?.strip_prefix('#')?;
        Some(OPENAPI.pointer(pointer)?["examples"][0].clone())
    }

    /// Returns the statuses that the document lists for the operation.
    #[must_use]
    pub fn statuses(&self) -> BTreeSet<u16> {
        let responses = self.described["responses"].as_object().expect("responses");
        responses
            .keys()
            .map(|status| status.parse().expect("a number"))
            .collect()
    }
}

/// Returns every operation of the document.
#[must_use]
pub fn operations() -> Vec<Operation> {
    let paths = OPENAPI["paths"].as_object().expect("paths");
    let operations: Vec<_> = paths
        .iter()
        .flat_map(|(path, methods)| {
            methods
                .as_object()
                .expect("methods")
                .iter()
                .map(|(method, described)| Operation {
                    id: described["operationId"].as_str().expect("an id").to_owned(),
                    method: method.to_uppercase().parse().expect("a method"),
                    path: path.clone(),
                    described: described.clone(),
                })
        })
        .collect();
    assert!(
        operations.len() > 30,
        "only {} operations",
        operations.len()
    );
    operations
}

/// Returns the file in which a suite records the responses it received.
#[must_use]
pub fn coverage_file(suite: &str) -> PathBuf {
    project().join(format!("target/tests/coverage-{suite}.txt"))
}

/// Fails if a response with a body lacks a correct Content-Length. Without this header, Spin sends the body in chunks, and the last chunk
/// waits 44 ms for the client's delayed acknowledgement.
fn check_length(method: &Method, answer: &Answer) {
    let length = answer.headers.get("content-length");
    let bodiless = [StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED];
    if bodiless.contains(&answer.status) {
        assert_eq!(length, None, "{answer:?}");
        return;
    }
    let length: usize = answer
        .header("content-length")
        .parse()
        .expect("Content-Length is a number");
    assert!(
        !answer.headers.contains_key("transfer-encoding"),
        "{answer:?}"
    );
    // For HEAD, Content-Length is the length of GET's body.
    if *method != Method::HEAD {
        assert_eq!(length, answer.body.len(), "{answer:?}");
    }
}

/// Fails if openapi.json doesn't describe the response. Records the response's operation and status.
pub(crate) fn check(method: &Method, path: &str, answer: &Answer) {
    check_length(method, answer);
    let looked_up = if method == Method::HEAD {
        &Method::GET
    } else {
        method
    };
    let Some(operation) = find(looked_up, path) else {
        let expected = [
            StatusCode::NOT_FOUND,
            StatusCode::METHOD_NOT_ALLOWED,
            StatusCode::NO_CONTENT,
        ];
        assert!(
            expected.contains(&answer.status),
            "{method} {path}: {answer:?}"
        );
        return;
    };
    let status = answer.status.as_u16();
    assert!(
        operation.statuses().contains(&status),
        "{} may not end in {status}: {answer:?}",
        operation.id
    );
    write_down(&operation.id, status);
    let bodiless = [StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED];
    if method == Method::HEAD || bodiless.contains(&answer.status) {
        assert!(answer.body.is_empty(), "{method} {path}: {answer:?}");
        return;
    }
    let pointer = format!(
        "/paths/{}/{}/responses/{status}",
        path_key(&operation.path),
        looked_up.as_str().to_lowercase()
    );
    let errors = with_validator(&pointer, |validator| {
        let is_json = answer.header("content-type").ends_with("json");
        let text = || Value::from(String::from_utf8_lossy(&answer.body));
        let body = if is_json { answer.json() } else { text() };
        validator
            .iter_errors(&body)
            .map(|error| format!("{}: {error}", error.instance_path()))
            .collect::<Vec<_>>()
    });
    assert!(
        errors.is_empty(),
        "{} {status} isn't as described: {errors:#?}\n{answer:?}",
        operation.id
    );
}

fn path_key(path: &str) -> String {
    path.replace('~', "~0").replace('/', "~1")
}

/// Returns the operation to which the router sends a request. Like the router, this function prefers a literal segment to a parameter.
fn find(method: &Method, path: &str) -> Option<&'static Operation> {
    static OPERATIONS: LazyLock<Vec<Operation>> = LazyLock::new(operations);
    let path = path
        .split('?')
        .next()
        .unwrap_or_default()
        .trim_end_matches('/');
    let fits = |operation: &&Operation| {
        let (ours, theirs) = (operation.path.split('/'), path.split('/'));
        operation.method == *method
            && operation.path.split('/').count() == path.split('/').count()
            && ours.zip(theirs).all(|(ours, theirs)| {
                ours == theirs || (ours.starts_with('{') && !theirs.is_empty())
            })
    };
    OPERATIONS
        .iter()
        .filter(fits)
        .min_by_key(|operation| operation.path.matches('{').count())
}

/// Calls `work` with the schema validator of the response at `pointer` in openapi.json. Each validator is compiled on first use.
fn with_validator<T>(pointer: &str, work: impl FnOnce(&Validator) -> T) -> T {
    static VALIDATORS: LazyLock<Mutex<HashMap<String, Validator>>> = LazyLock::new(Mutex::default);
    let mut validators = VALIDATORS.lock().expect("no other test panicked here");
    let validator = validators.entry(pointer.to_owned()).or_insert_with(|| {
        let mut response = OPENAPI.pointer(pointer).expect("a response").clone();
        if let Some(reference) = response["$ref"].as_str() {
            response = OPENAPI
                .pointer(reference.trim_start_matches('#'))
                .expect("a response")
                .clone();
        }
        let content = response["content"].as_object().expect("content");
        let (_, media) = content.iter().next().expect("a media type");
        let schema = json!({"components": OPENAPI["components"], "allOf": [media["schema"]]});
        jsonschema::validator_for(&schema).expect("a valid schema")
    });
    work(validator)
}

/// Appends an operation and a status to this suite's coverage file. The first call in each run truncates the file.
fn write_down(operation: &str, status: u16) {
    static COVERAGE: LazyLock<Mutex<File>> = LazyLock::new(|| {
        let binary = std::env::current_exe().expect("a test has a binary");
        let binary = binary
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        let file = coverage_file(binary.split('-').next().unwrap_or_default());
        std::fs::create_dir_all(file.parent().expect("a folder")).expect("target can be written");
        let options = OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(true)
            .open(file);
        Mutex::new(options.expect("target can be written"))
    });
    let mut file = COVERAGE.lock().expect("no other test panicked here");
    writeln!(file, "{operation} {status}").expect("target can be written");
}
