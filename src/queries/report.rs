//! Reports made of sections, each with a source of its own in the database. One statement reads all sections. If that statement fails, each
//! section is read alone, so that only the sections of unreadable sources are missing.
//!
//! The module doesn't depend on HTTP or on the contents of the sections.

use std::time::Instant;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::db::{Answer, Db, DbError, Parameter, Statement};

/// Sections that one statement reads together.
pub struct Sections {
    /// Reads all sections. Returns a JSON array with one [`Part`] for each section, in the order of `each`.
    pub all: &'static Statement,
    /// The sections.
    pub each: &'static [Section],
}

/// A section of a report.
pub struct Section {
    /// Reads this section alone. Returns one [`Part`].
    pub statement: &'static Statement,
    /// The table, view or function that the statement reads, for messages.
    pub source: &'static str,
    /// Whether our migrations create the source; other sources belong to the server.
    pub is_ours: bool,
    /// The members of the report that the section fills; they are null if the section can't be read.
    pub members: &'static [&'static str],
    /// Members of other sections that are incomplete without this section, each with a text for the missing part, such as "advice on …".
    pub needed_by: &'static [(&'static str, &'static str)],
}

/// The result of a section's statement.
#[derive(Default, Deserialize)]
struct Part {
    /// The members of the report.
    members: Map<String, Value>,
    #[serde(default)]
    advice: Vec<Advice>,
    #[serde(default)]
    unavailable: Vec<Unavailable>,
    /// Facts that other sections need.
    #[serde(default)]
    facts: Map<String, Value>,
}

/// An error or a possible improvement that the report found.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
pub struct Advice {
    /// The severity.
    pub level: Level,
    /// The type of advice, for example `index_missing`.
    pub name: String,
    /// The finding.
    pub detail: String,
    /// Statements that carry out the advice, each on a line of its own. The operator runs them one by one outside of a transaction. `None` if
    /// only a person can write the statements.
    pub sql: Option<String>,
    /// The index that the advice is about. The advice is dropped while that index is being built.
    #[serde(default, skip_serializing)]
    pub unless_building: Option<i64>,
    /// The table that the advice is about. The advice is dropped if no row was ever deleted from that table.
    #[serde(default, skip_serializing)]
    pub if_deleted_from: Option<i64>,
}

/// The severity of a finding, the worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// The finding has to be fixed.
    Error,
    /// The operator should examine the finding.
    Warning,
    /// The finding is a possible improvement.
    Info,
}

/// A section that is missing, in whole or in part.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
pub struct Unavailable {
    /// The report's member.
    pub section: String,
    /// The reason why the section is missing, and the action to take.
    pub reason: String,
}

/// The parts of a report that were read.
#[derive(Default)]
pub struct Parts {
    /// The members of the report.
    pub members: Map<String, Value>,
    /// All advice, unsorted.
    pub advice: Vec<Advice>,
    /// The sections that are missing.
    pub unavailable: Vec<Unavailable>,
    /// Facts that sections report to other sections.
    pub facts: Map<String, Value>,
}

impl Parts {
    /// Adds the parts of other sections.
    pub fn append(&mut self, mut others: Self) {
        self.members.append(&mut others.members);
        self.advice.append(&mut others.advice);
        self.unavailable.append(&mut others.unavailable);
        self.facts.append(&mut others.facts);
    }

    /// Adds members that no section fills.
    pub fn add(&mut self, members: Value) {
        if let Value::Object(mut members) = members {
            self.members.append(&mut members);
        }
    }

    fn take(&mut self, part: Part) {
        self.members.extend(part.members);
        self.advice.extend(part.advice);
        self.unavailable.extend(part.unavailable);
        self.facts.extend(part.facts);
    }

    fn lack(&mut self, section: &Section, why: &str) {
        let members = section.members.iter();
        let nulls: Map<_, _> = members
            .map(|member| ((*member).to_owned(), Value::Null))
            .collect();
        self.add(Value::Object(nulls));
        let reason = format!("{} can't be read: {why}.", section.source);
        let missing = section
            .members
            .iter()
            .map(|member| (*member, reason.clone()));
        let lacking = section
            .needed_by
            .iter()
            .map(|(member, lacks)| (*member, format!("There is no {lacks}, because {reason}")));
        let entries = missing.chain(lacking).map(|(section, reason)| Unavailable {
            section: section.to_owned(),
            reason,
        });
        self.unavailable.extend(entries);
    }
}

impl Section {
    /// Reads this section alone. If the read fails, the section's members are null, and `unavailable` names the section.
    pub async fn read(&self, db: &Db, parameters: &[Parameter]) -> Parts {
        let mut parts = Parts::default();
        match self.part(db, parameters).await {
            Ok(part) => parts.take(part),
            Err(error) => parts.lack(self, &why(db, self, &error)),
        }
        parts
    }

    async fn part(&self, db: &Db, parameters: &[Parameter]) -> Result<Part, DbError> {
        let answer = read(db, self.statement, parameters).await?;
        let part = answer
            .json
            .and_then(|json| serde_json::from_str(&json).ok());
        part.ok_or_else(|| shapeless(self.statement))
    }
}

impl Sections {
    /// Reads all sections. The members of an unreadable section are null, and `unavailable` names the section. Fails if no section can be read.
    ///
    /// Each statement gets the first of `parameters`, up to the highest number in its text.
    pub async fn read(&self, db: &Db, parameters: &[Parameter]) -> Result<Parts, DbError> {
        let began = Instant::now();
        let first_error = match read(db, self.all, parameters).await {
            Ok(answer) => match parts_of(&answer, self.each.len()) {
                Some(read) => {
                    let mut parts = Parts::default();
                    for part in read {
                        parts.take(part);
                    }
                    return Ok(parts);
                }
                None => shapeless(self.all),
            },
            Err(error) => error,
        };
        let patience = db.config().db_statement_timeout * 4;
        self.read_each(db, parameters, began + patience, first_error)
            .await
    }

    async fn read_each(
        &self,
        db: &Db,
        parameters: &[Parameter],
        deadline: Instant,
        first_error: DbError,
    ) -> Result<Parts, DbError> {
        let mut parts = Parts::default();
        let (mut read_count, mut unavailable_count) = (0, 0);
        for section in self.each {
            if Instant::now() > deadline {
                parts.lack(section, "no time was left for it");
                continue;
            }
            match section.part(db, parameters).await {
                Ok(part) => {
                    read_count += 1;
                    parts.take(part);
                }
                Err(error) => {
                    unavailable_count += u32::from(error.is_unreachable());
                    parts.lack(section, &why(db, section, &error));
                }
            }
            // If two sections find the server unreachable and no section was read, the others most likely can't be read either.
            if read_count == 0 && unavailable_count == 2 {
                break;
            }
        }
        if read_count == 0 {
            return Err(first_error);
        }
        Ok(parts)
    }

    /// Returns the parts of a report in which none of these sections can be read.
    #[must_use]
    pub fn missing(&self, db: &Db, error: &DbError) -> Parts {
        let mut parts = Parts::default();
        for section in self.each {
            parts.lack(section, &why(db, section, error));
        }
        parts
    }
}

async fn read(
    db: &Db,
    statement: &'static Statement,
    parameters: &[Parameter],
) -> Result<Answer, DbError> {
    let sql = statement.sql;
    let count = (1..=parameters.len())
        .take_while(|n| sql.contains(&format!("${n}::")))
        .count();
    let parameters = parameters.iter().take(count).cloned().collect();
    db.answer(statement, parameters).await
}

fn parts_of(answer: &Answer, count: usize) -> Option<Vec<Part>> {
    let parts: Vec<Part> = serde_json::from_str(answer.json.as_deref()?).ok()?;
    (parts.len() == count).then_some(parts)
}

fn shapeless(statement: &Statement) -> DbError {
    DbError::Decode {
        statement: statement.name,
        found: "JSON of another shape".to_owned(),
    }
}

/// Returns the reason why a section's source can't be read, and the action to take. Logs errors without a known reason.
fn why(db: &Db, section: &Section, error: &DbError) -> String {
    if let DbError::Timeout { .. } = error {
        let limit_ms = db.config().db_statement_timeout.as_millis();
        return format!("it took longer than a statement may take here ({limit_ms} ms)");
    }
    let sqlstate = error.sqlstate().unwrap_or_default();
    let name = section.source;
    let why = match (sqlstate, section.is_ours) {
        ("42501", true) => "the component's role lacks a privilege; run scripts/migrate grant",
        ("42501", false) => {
            "the component's role lacks a privilege on it; an administrator can grant SELECT on a view, or EXECUTE on a function"
        }
        ("3F000" | "42P01" | "42703", true) | ("42883", _) => {
            "the database lacks migrations; run scripts/migrate"
        }
        ("42P01", false) => "this server has none",
        ("0A000", true) => {
            "its tables are UNLOGGED, which a standby does not have; let db_url lead to the primary"
        }
        ("55000", _) if name == "pg_stat_statements" => {
            "it is not loaded; add it to shared_preload_libraries and restart PostgreSQL"
        }
        ("55P03", _) => "another session holds a lock on it; try again",
        _ => {
            db.warn("report_incomplete", &format!("REPORT INCOMPLETE: {error}"));
            "the log says why, with the id of this request"
        }
    };
    match sqlstate {
        "" => why.to_owned(),
        _ => format!("{why} (SQLSTATE {sqlstate})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advice_is_sorted_by_level_first() {
        let of = |level, name: &str| Advice {
            level,
            name: name.to_owned(),
            detail: String::new(),
            sql: None,
            unless_building: None,
            if_deleted_from: None,
        };
        let mut advice = [
            of(Level::Info, "a"),
            of(Level::Warning, "b"),
            of(Level::Error, "c"),
        ];
        advice.sort();
        let names: Vec<_> = advice.iter().map(|one| one.name.as_str()).collect();
        assert_eq!(names, ["c", "b", "a"]);
    }
}
