//! What a request asks for, parsed and checked. Faults are gathered, so that one answer names them all.
//!
//! Every value a handler uses comes through here; a parameter that no handler takes is a fault as well.

use std::borrow::Cow;
use std::convert::Infallible;

use axum::extract::{FromRequestParts, RawPathParams};
use axum::http::request::Parts;
use uuid::Uuid;

use super::problem::{ApiError, Fault};

/// The parameters of a request's path and query. Take each by name, then [`check`](Self::check).
///
/// A fault yields a stand-in value so that the handler can go on taking; `check` stops it before the value is used.
pub struct Input {
    path: Vec<(String, String)>,
    query: Vec<(String, String)>,
    faults: Vec<Fault>,
}

impl<S: Send + Sync> FromRequestParts<S> for Input {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Infallible> {
        let mut faults = Vec::new();
        let path = match RawPathParams::from_request_parts(parts, state).await {
            Ok(parameters) => parameters
                .iter()
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
            Err(rejection) => {
                faults.push(Fault {
                    parameter: "path".into(),
                    detail: rejection.body_text(),
                });
                Vec::new()
            }
        };
        let query = form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes())
            .into_owned()
            .collect();
        Ok(Self {
            path,
            query,
            faults,
        })
    }
}

impl Input {
    /// A UUID of the path.
    pub fn path_uuid(&mut self, name: &'static str) -> Uuid {
        let value = self.take_path(name);
        Uuid::try_parse(&value).unwrap_or_else(|_| {
            self.fault(name, format!("{value:?} isn't a UUID."));
            Uuid::nil()
        })
    }

    /// A text of the path, 1 to `max_chars` characters long.
    pub fn path_text(&mut self, name: &'static str, max_chars: usize) -> String {
        let value = self.take_path(name);
        self.checked_text(name, value, max_chars)
    }

    /// A boolean of the query, as the original took them: true, 1, yes, on and their opposites, in any case.
    pub fn query_bool(&mut self, name: &'static str, default: bool) -> bool {
        let Some(value) = self.take_query(name) else {
            return default;
        };
        match value.to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" | "on" => true,
            "false" | "0" | "no" | "off" => false,
            _ => {
                self.fault(name, format!("{value:?} is neither true nor false."));
                default
            }
        }
    }

    /// A text of the query, 1 to `max_chars` characters long.
    pub fn query_text(&mut self, name: &'static str, max_chars: usize) -> Option<String> {
        let value = self.take_query(name)?;
        Some(self.checked_text(name, value, max_chars))
    }

    /// Ends the taking: an error that names every fault, if there are any.
    pub fn check(mut self) -> Result<(), ApiError> {
        for (name, _) in std::mem::take(&mut self.query) {
            let name: String = name.chars().take(100).collect();
            self.fault(name, "There is no such parameter here.".to_owned());
        }
        if self.faults.is_empty() {
            Ok(())
        } else {
            Err(ApiError::Invalid(self.faults))
        }
    }

    fn fault(&mut self, parameter: impl Into<Cow<'static, str>>, detail: String) {
        // A query string of a thousand unknown names needs no thousand sentences.
        const MOST_FAULTS: usize = 50;
        if self.faults.len() < MOST_FAULTS {
            self.faults.push(Fault {
                parameter: parameter.into(),
                detail,
            });
        }
    }

    fn take_path(&mut self, name: &'static str) -> String {
        match self.path.iter().position(|(found, _)| found == name) {
            Some(position) => self.path.swap_remove(position).1,
            None => String::new(),
        }
    }

    fn take_query(&mut self, name: &'static str) -> Option<String> {
        let mut values = Vec::new();
        self.query.retain_mut(|(found, value)| {
            let taken = found == name;
            if taken {
                values.push(std::mem::take(value));
            }
            !taken
        });
        if values.len() > 1 {
            self.fault(name, format!("It is given {} times.", values.len()));
        }
        values.pop()
    }

    fn checked_text(&mut self, name: &'static str, value: String, max_chars: usize) -> String {
        let length = value.chars().count();
        if length == 0 || length > max_chars {
            self.fault(
                name,
                format!("It is {length} characters long; 1 to {max_chars} are possible."),
            );
        } else if value.contains('\0') {
            self.fault(name, "It holds a NUL character.".to_owned());
        } else if value.contains(char::REPLACEMENT_CHARACTER) {
            self.fault(name, "It isn't valid UTF-8.".to_owned());
        }
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(query: &str) -> Input {
        Input {
            path: vec![("id".to_owned(), "x".to_owned())],
            query: form_urlencoded::parse(query.as_bytes())
                .into_owned()
                .collect(),
            faults: Vec::new(),
        }
    }

    fn faults(input: Input) -> Vec<String> {
        match input.check() {
            Err(ApiError::Invalid(faults)) => faults
                .into_iter()
                .map(|fault| format!("{}: {}", fault.parameter, fault.detail))
                .collect(),
            Err(other) => panic!("{other:?}"),
            Ok(()) => vec![],
        }
    }

    #[test]
    fn all_faults_come_in_one_answer() {
        let mut input = input("active_only=maybe&agent_type=&bogus=1");
        input.path_uuid("id");
        assert!(input.query_bool("active_only", true));
        input.query_text("agent_type", 50);
        assert_eq!(
            faults(input),
            [
                "id: \"x\" isn't a UUID.",
                "active_only: \"maybe\" is neither true nor false.",
                "agent_type: It is 0 characters long; 1 to 50 are possible.",
                "bogus: There is no such parameter here.",
            ]
        );
    }

    #[test]
    fn a_parameter_given_twice_is_a_fault() {
        let mut input = input("a=1&a=0");
        input.query_bool("a", true);
        assert_eq!(faults(input), ["a: It is given 2 times."]);
    }

    #[test]
    fn what_the_database_could_not_store_is_refused_here() {
        for (query, fault) in [
            ("t=a%00b", "t: It holds a NUL character."),
            ("t=%ff", "t: It isn't valid UTF-8."),
            ("t=abcd", "t: It is 4 characters long; 1 to 3 are possible."),
        ] {
            let mut input = input(query);
            input.query_text("t", 3);
            assert_eq!(faults(input), [fault]);
        }
    }

    #[test]
    fn the_number_of_faults_told_is_limited() {
        let query = (0..1000).fold(String::new(), |query, n| format!("{query}&p{n}=1"));
        assert_eq!(faults(input(&query)).len(), 50);
    }
}
