//! Tests that the files, routes, options, variables and identifiers in a document's `backticks`, links and commands exist.
//!
//! The rules are few and have no exceptions. A word is checked if it has the form of a file's path, a route, an option, a variable or an
//! identifier. Placeholders in capitals, or with `…`, `<` or `{`, aren't checked.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Everything that documents can refer to.
#[derive(Default)]
struct Project {
    /// Every file, relative to the project's folder.
    files: BTreeSet<String>,
    /// The words of all files except documents. A word consists of letters, digits and `_`.
    words: BTreeSet<String>,
    /// The same words as `words`, except that a word may contain `-`, for options and names of packages.
    dashed: BTreeSet<String>,
    /// The variables of spin.toml.
    variables: BTreeSet<String>,
    /// The path patterns of the API.
    routes: Vec<String>,
    /// The scripts: path and text.
    scripts: Vec<(String, String)>,
}

/// A name in a document that refers to nothing.
#[derive(Debug, PartialEq, Eq)]
struct Finding {
    /// `docs/operations.md:12`.
    at: String,
    /// The error message.
    what: String,
}

/// Folders that builds and test runs create, or that aren't part of the project.
const MADE: &[&str] = &["target", ".local", ".spin", ".git", "node_modules"];

fn is_document(path: &str) -> bool {
    Path::new(path)
        .extension()
        .is_some_and(|extension| extension == "md")
}

fn read_all(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if MADE.contains(&name) {
            continue;
        }
        if path.is_dir() {
            read_all(&path, files);
        } else {
            files.push(path);
        }
    }
}

fn words(text: &str, more: char) -> impl Iterator<Item = &str> {
    let is_of_word =
        move |letter: char| letter.is_ascii_alphanumeric() || letter == '_' || letter == more;
    text.split(move |letter| !is_of_word(letter))
        .filter(|word| !word.is_empty())
}

impl Project {
    fn read() -> Self {
        let mut paths = Vec::new();
        read_all(Path::new("."), &mut paths);
        let mut project = Self::default();
        for path in paths {
            let name = path.to_str().unwrap().trim_start_matches("./").to_owned();
            // This file is left out, because its own tests name things that don't exist.
            if !is_document(&name)
                && name != "src/documents.rs"
                && let Ok(text) = std::fs::read_to_string(&path)
            {
                project.words.extend(words(&text, '_').map(str::to_owned));
                project.dashed.extend(words(&text, '-').map(str::to_owned));
                if name.starts_with("scripts/")
                    || name.starts_with("tests/") && text.starts_with("#!")
                {
                    project.scripts.push((name.clone(), text));
                }
            }
            project.files.insert(name);
        }
        // The names of the lists' statements are composed at run time, so no file contains them.
        let statements = crate::queries::ALL.iter();
        project
            .words
            .extend(statements.map(|statement| statement.name.to_owned()));
        let manifest = std::fs::read_to_string("spin.toml").unwrap();
        let variables = manifest.lines().filter_map(|line| line.split_once(" = { "));
        project.variables = variables.map(|(name, _)| name.to_owned()).collect();
        let openapi: serde_json::Value =
            serde_json::from_str(&std::fs::read_to_string("openapi.json").unwrap()).unwrap();
        let paths = openapi["paths"].as_object().unwrap();
        project.routes = paths.keys().cloned().collect();
        project
    }

    /// Returns the path and text of each document. The comments of spin.toml count as one document.
    fn documents(&self) -> Vec<(String, String)> {
        let of_users = |path: &&String| {
            is_document(path)
                && [
                    "docs/",
                    "deploy/",
                    "README.md",
                    "CONTRIBUTING.md",
                    "SECURITY.md",
                ]
                .iter()
                .any(|begin| path.starts_with(begin))
        };
        let mut documents: Vec<_> = self
            .files
            .iter()
            .filter(of_users)
            .map(|path| (path.clone(), std::fs::read_to_string(path).unwrap()))
            .collect();
        let manifest = std::fs::read_to_string("spin.toml").unwrap();
        let comments: Vec<_> = manifest
            .lines()
            .map(|line| line.trim().strip_prefix('#').unwrap_or_default())
            .collect();
        documents.push(("spin.toml".to_owned(), comments.join("\n")));
        documents
    }

    fn has_file(&self, path: &str, from: &str) -> bool {
        let folder = Path::new(from).parent().unwrap();
        // Documents may name modules and suites relative to these folders.
        let bases = ["", "src", "host/src", "tests"].map(PathBuf::from);
        bases.into_iter().chain([folder.to_owned()]).any(|base| {
            let Some(path) = normal(&base.join(path)) else {
                return false;
            };
            let (folder, name) = (format!("{path}/"), format!("/{path}"));
            // A name without a folder may be that of a file in any folder.
            self.files.iter().any(|file| {
                *file == path
                    || file.starts_with(&folder)
                    || !path.contains('/') && file.ends_with(&name)
            })
        })
    }

    fn has_route(&self, path: &str) -> bool {
        let path = path.split(['?', '#']).next().unwrap_or_default();
        let segments: Vec<_> = path.split('/').collect();
        self.routes.iter().any(|route| {
            let pattern: Vec<_> = route.split('/').collect();
            pattern.len() == segments.len()
                && pattern
                    .iter()
                    .zip(&segments)
                    .all(|(one, other)| one == other || one.starts_with('{') && !other.is_empty())
        })
    }

    /// Returns the error in a word of a document; `None` if there is none.
    fn fault(&self, word: &str, from: &str) -> Option<String> {
        let word = word.trim_end_matches(['.', ',', ':', ';']);
        let has_sign = word.contains(['…', '<', '$', '*']);
        if let Some(variable) = word.strip_prefix("SPIN_VARIABLE_") {
            let known = variable.is_empty() || self.variables.contains(&variable.to_lowercase());
            return (!known && !has_sign).then(|| format!("spin.toml has no variable for {word}"));
        }
        if let Some(rest) = word.strip_prefix("REZNET_") {
            let name = words(rest, '_').next().unwrap_or_default();
            let known = self.words.contains(&format!("REZNET_{name}"));
            return (!known).then(|| format!("no script reads {word}"));
        }
        if word.starts_with("/api/") || word == "/performance" {
            let whole = word.replace(['…', '<'], "{");
            let is_part = whole.ends_with('{') || whole.ends_with('/');
            return (!is_part && !self.has_route(&whole))
                .then(|| format!("there is no route {word}"));
        }
        if word.starts_with("--") {
            return None;
        }
        let mut parts = word.split(|letter: char| !letter.is_ascii_alphanumeric());
        if has_sign || parts.any(is_shouted) {
            return None;
        }
        if is_path(word) {
            let is_there =
                MADE.iter().any(|made| word.starts_with(made)) || self.has_file(word, from);
            return (!is_there).then(|| format!("there is no file {word}"));
        }
        let name = word.trim_end_matches("()").trim_end_matches('!');
        is_identifier(name)
            .then(|| {
                name.split([':', '.']).find(|part| {
                    !part.is_empty() && !self.words.contains(*part) && !THEIRS.contains(part)
                })
            })
            .flatten()
            .map(|part| format!("nothing in the code is called {part}"))
    }
}

/// Removes `.` and `..` from a path; `None` if it leads out of the project.
fn normal(path: &Path) -> Option<String> {
    let mut parts = Vec::new();
    for part in path.to_str()?.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            _ => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

/// Returns true if the word is a placeholder in capitals, such as NAME.
fn is_shouted(word: &str) -> bool {
    word.len() > 1 && word.chars().all(|letter| letter.is_ascii_uppercase())
}

/// Names of settings and views of PostgreSQL and `PgBouncer` that only our documents contain, not our code.
const THEIRS: &[&str] = &[
    "connect_query",
    "max_standby_streaming_delay",
    "pg_snapshot_xmin",
    "pg_stat_replication",
    "replay_lag",
    "superuser_reserved_connections",
    "transaction_read_only",
    "wal_receiver_timeout",
];

fn is_path(word: &str) -> bool {
    let endings = [
        ".rs", ".md", ".sql", ".toml", ".sh", ".yml", ".yaml", ".html", ".json", ".mjs", ".py",
        ".csp", ".lock", ".ts",
    ];
    let is_plain = word
        .chars()
        .all(|letter| letter.is_ascii_alphanumeric() || "._-/@".contains(letter));
    let first = word.split('/').next().unwrap_or_default();
    let is_ours = word.contains('/') && Path::new(first).exists() && !first.is_empty();
    is_plain && (is_ours || endings.iter().any(|ending| word.ends_with(ending)))
}

/// Returns true if the word is `snake_case`, `CamelCase::member` or `module::name`. Other words count as English.
fn is_identifier(word: &str) -> bool {
    let is_plain = word
        .chars()
        .all(|letter| letter.is_ascii_alphanumeric() || letter == '_' || letter == ':');
    let begins = word.starts_with(|letter: char| letter.is_ascii_alphabetic());
    let has_form = word.contains('_') && word.chars().any(|letter| letter.is_ascii_lowercase())
        || word.contains("::");
    is_plain && begins && has_form
}

/// Returns the texts in backticks of a line.
fn code_spans(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2)
}

/// Returns the targets of the links `[words](target)` in a line.
fn links(line: &str) -> impl Iterator<Item = &str> {
    line.split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next())
}

/// Returns the fragment that GitHub gives a heading.
fn anchor(heading: &str) -> String {
    let letters = heading.trim_start_matches('#').trim().to_lowercase();
    letters
        .chars()
        .filter(|letter| letter.is_alphanumeric() || [' ', '-', '_'].contains(letter))
        .map(|letter| if letter == ' ' { '-' } else { letter })
        .collect()
}

fn findings(project: &Project, path: &str, text: &str) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut is_shell = false;
    let mut is_block = false;
    for (number, line) in text.lines().enumerate() {
        let at = format!("{path}:{}", number + 1);
        let mut report = |what: String| {
            found.push(Finding {
                at: at.clone(),
                what,
            });
        };
        if let Some(language) = line.trim().strip_prefix("```") {
            is_block = !is_block;
            is_shell = is_block && language == "sh";
            continue;
        }
        let codes: Vec<&str> = match (is_block, is_shell) {
            (true, true) => vec![line.split(" #").next().unwrap_or_default()],
            (true, false) => continue,
            _ => code_spans(line).collect(),
        };
        for code in codes {
            script_faults(project, code)
                .into_iter()
                .for_each(&mut report);
            host_fault(project, code).into_iter().for_each(&mut report);
            code.split([' ', '=', '"', '\'', '(', ')', '|'])
                // A command may name the reader's own files, so a path without a folder isn't checked in commands.
                .filter(|word| !is_shell || word.contains('/') || !is_path(word))
                .filter_map(|word| project.fault(word, path))
                .for_each(&mut report);
        }
        if !is_block {
            let faults = links(line).filter_map(|target| link_fault(project, path, text, target));
            faults.for_each(&mut report);
        }
    }
    found
}

/// Returns the options in a command that the text of its script doesn't contain.
fn script_faults(project: &Project, code: &str) -> Vec<String> {
    let mut words = code
        .split_whitespace()
        .skip_while(|word| !word.starts_with("scripts/"));
    let Some(script) = words.next() else {
        return Vec::new();
    };
    let Some((_, text)) = project.scripts.iter().find(|(name, _)| name == script) else {
        return Vec::new();
    };
    words
        .take_while(|word| !["|", "&&", ";", ">"].contains(word))
        .filter(|word| word.starts_with("--") && word.len() > 2)
        .map(|option| option.split('=').next().unwrap_or_default())
        .map(|option| option.trim_end_matches(['`', ',', '.', ')', ';', '…']))
        .filter(|option| !text.contains(option))
        .map(|option| format!("{script} has no option {option}"))
        .collect()
}

/// Returns the error in an option that stands without a command. A file that isn't a document must contain the option.
fn host_fault(project: &Project, code: &str) -> Option<String> {
    let option = code.strip_prefix("--")?;
    let name: String = option
        .chars()
        .take_while(|letter| letter.is_ascii_alphanumeric() || *letter == '-')
        .collect();
    let known = project.dashed.contains(&format!("--{name}"))
        || project.dashed.contains(&name)
        || project.words.contains(&name.replace('-', "_"));
    (!known).then(|| format!("nothing has the option --{name}"))
}

fn link_fault(project: &Project, path: &str, text: &str, target: &str) -> Option<String> {
    if target.contains("://") || target.starts_with("mailto:") {
        return None;
    }
    let (file, heading) = target.split_once('#').unwrap_or((target, ""));
    let folder = Path::new(path).parent()?;
    let linked = if file.is_empty() {
        Some(path.to_owned())
    } else {
        normal(&folder.join(file))
    };
    let Some(linked) = linked.filter(|linked| linked.is_empty() || Path::new(linked).exists())
    else {
        return Some(format!("the link {target} leads to no file"));
    };
    if heading.is_empty() {
        return None;
    }
    let other = if linked == path {
        text.to_owned()
    } else {
        std::fs::read_to_string(&linked).ok()?
    };
    let is_there = other
        .lines()
        .any(|line| line.starts_with('#') && anchor(line) == heading);
    (!is_there && project.files.contains(&linked))
        .then(|| format!("{linked} has no heading #{heading}"))
}

#[test]
fn every_reference_in_the_documents_exists() {
    let project = Project::read();
    let documents = project.documents();
    assert!(documents.len() > 20, "{} documents", documents.len());
    let all: Vec<_> = documents
        .iter()
        .flat_map(|(path, text)| findings(&project, path, text))
        .map(|finding| format!("{}: {}", finding.at, finding.what))
        .collect();
    assert!(all.is_empty(), "\n{}", all.join("\n"));
}

#[test]
fn broken_references_are_reported_with_their_line() {
    let project = Project::read();
    let text = "# A heading\n\
        `src/db.rs` `src/nonesuch.rs` `Db::answer` `nonesuch_function` `GET /api/agents/{id}` `/api/nonesuch`\n\
        `SPIN_VARIABLE_DB_URL` `SPIN_VARIABLE_NONESUCH` `scripts/migrate status --json` `scripts/migrate --nonesuch` `--nonesuch-option`\n\
        [here](#a-heading) [there](#nonesuch) [file](nonesuch.md)\n\
        ```sh\nscripts/postgres url --app   # --ignored\nscripts/postgres --nonesuch\n```\n";
    let found: Vec<_> = findings(&project, "README.md", text)
        .into_iter()
        .map(|finding| format!("{} {}", finding.at, finding.what))
        .collect();
    let expected = [
        "README.md:2 there is no file src/nonesuch.rs",
        "README.md:2 nothing in the code is called nonesuch_function",
        "README.md:2 there is no route /api/nonesuch",
        "README.md:3 spin.toml has no variable for SPIN_VARIABLE_NONESUCH",
        "README.md:3 scripts/migrate has no option --nonesuch",
        "README.md:3 nothing has the option --nonesuch-option",
        "README.md:4 README.md has no heading #nonesuch",
        "README.md:4 the link nonesuch.md leads to no file",
        "README.md:7 scripts/postgres has no option --nonesuch",
    ];
    assert_eq!(found, expected);
}
