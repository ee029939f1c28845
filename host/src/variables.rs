//! Application variables: their values (flag, then environment, then default), and the templates that use them. No message contains a
//! variable's value, because it may be secret. The interface that guests call is in `interfaces/variables.rs`.

use std::collections::{BTreeMap, HashMap};

use anyhow::{Context as _, Result, bail, ensure};

use crate::{bindings::spin::variables::variables::Error, manifest::Variable};

/// The values of the application's variables. The type has no `Debug`, because values may be secrets.
#[derive(Default)]
pub struct Variables(BTreeMap<String, String>);

impl Variables {
    /// Determines the value of every declared variable. `flags` are the `--variable` options; `environment` looks up a variable in the
    /// process's environment.
    pub fn resolve(
        declared: &BTreeMap<String, Variable>,
        flags: &[(String, String)],
        environment: impl Fn(&str) -> Option<String>,
    ) -> Result<Self> {
        for (name, _) in flags {
            ensure!(
                declared.contains_key(name),
                "--variable {name}: the manifest declares no such variable; declared are: {}",
                declared
                    .keys()
                    .map(String::as_str)
                    .collect::<Vec<_>>()
                    .join(", ")
            );
        }
        let mut values = BTreeMap::new();
        for (name, variable) in declared {
            check_name(name).map_err(|reason| anyhow::anyhow!("[variables] {name:?}: {reason}"))?;
            let environment_name = format!("SPIN_VARIABLE_{}", name.to_ascii_uppercase());
            // The last of several flags for one variable wins, as with most command lines.
            let flag = flags
                .iter()
                .rev()
                .find(|(key, _)| key == name)
                .map(|(_, value)| value.clone());
            let value = flag
                .or_else(|| environment(&environment_name))
                .or_else(|| variable.default.clone())
                .with_context(|| {
                    format!("variable {name:?} is required; set {environment_name} or pass --variable {name}=…")
                })?;
            values.insert(name.clone(), value);
        }
        Ok(Self(values))
    }

    /// Returns whether a variable is declared and its value is blank.
    pub fn is_empty(&self, name: &str) -> bool {
        self.0
            .get(name)
            .is_some_and(|value| value.trim().is_empty())
    }

    /// Replaces each `{{ name }}` in a template by the variable's value.
    pub fn fill(&self, template: &str) -> Result<String> {
        let mut filled = String::new();
        let mut rest = template;
        while let Some((literal, after)) = rest.split_once("{{") {
            let Some((name, tail)) = after.split_once("}}") else {
                bail!("template {template:?} opens {{{{ but doesn't close it");
            };
            let name = name.trim();
            let value = self
                .0
                .get(name)
                .with_context(|| format!("template {template:?} uses variable {name:?}, which [variables] doesn't declare"))?;
            filled.push_str(literal);
            filled.push_str(value);
            rest = tail;
        }
        filled.push_str(rest);
        Ok(filled)
    }
}

/// The variables of one component, with their values. The type has no `Debug`, because values may be secrets.
pub struct ComponentVariables {
    component: String,
    values: HashMap<String, String>,
}

impl ComponentVariables {
    /// Fills in the templates of `[component.ID.variables]`.
    pub fn new(
        component: &str,
        templates: &BTreeMap<String, String>,
        variables: &Variables,
    ) -> Result<Self> {
        let fill = |(name, template): (&String, &String)| {
            check_name(name).map_err(|reason| {
                anyhow::anyhow!("[component.{component}.variables] {name:?}: {reason}")
            })?;
            let value = variables
                .fill(template)
                .with_context(|| format!("[component.{component}.variables] {name}"))?;
            Ok((name.clone(), value))
        };
        Ok(Self {
            component: component.to_owned(),
            values: templates.iter().map(fill).collect::<Result<_>>()?,
        })
    }

    /// Returns the value of a variable. The error texts are Spin's.
    pub fn get(&self, name: &str) -> Result<String, Error> {
        check_name(name).map_err(|reason| Error::InvalidName(format!("{name:?}: {reason}")))?;
        let value = self.values.get(name).cloned();
        value.ok_or_else(|| {
            Error::Undefined(format!("no variable for {:?}.{name:?}", self.component))
        })
    }
}

/// Checks a variable's name by Spin's rule. A valid name, in upper case after `SPIN_VARIABLE_`, is also the name of an environment variable.
fn check_name(name: &str) -> Result<(), &'static str> {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    if !name.starts_with(|c: char| c.is_ascii_lowercase()) {
        Err("a name starts with a lower-case letter")
    } else if !name.chars().all(allowed) {
        Err("a name has only lower-case letters, digits and underscores")
    } else if name.ends_with('_') || name.contains("__") {
        Err("underscores stand one at a time and not at the end")
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn declared(text: &str) -> BTreeMap<String, Variable> {
        toml::from_str(text).unwrap()
    }

    fn values(pairs: &[(&str, &str)]) -> Variables {
        Variables(
            pairs
                .iter()
                .map(|(k, v)| ((*k).into(), (*v).into()))
                .collect(),
        )
    }

    /// Returns the error message for variables that can't be resolved. `Variables` has no `Debug`, because values may be secrets.
    fn refusal(declaration: &str, flags: &[(String, String)]) -> String {
        match Variables::resolve(&declared(declaration), flags, |_| None) {
            Ok(_) => panic!("{declaration} is accepted"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn flags_override_environment_variables_which_override_defaults() {
        let declared =
            declared("a = { default = \"1\" }\nb = { default = \"1\" }\nc = { default = \"1\" }");
        let environment = |name: &str| (name != "SPIN_VARIABLE_C").then(|| "2".to_owned());
        let flags = [("a".to_owned(), "3".to_owned())];
        let variables = Variables::resolve(&declared, &flags, environment).unwrap();
        assert_eq!(variables.fill("{{a}}{{ b }}{{  c}}").unwrap(), "321");
    }

    #[test]
    fn the_error_for_a_missing_variable_names_both_ways_to_set_it() {
        let message = refusal("key = { required = true }", &[]);
        assert!(
            message.contains("SPIN_VARIABLE_KEY") && message.contains("--variable key="),
            "{message}"
        );
    }

    #[test]
    fn the_error_for_an_unknown_flag_omits_its_value() {
        let flags = [("oops".to_owned(), "hunter2".to_owned())];
        let message = refusal("key = { default = \"\" }", &flags);
        assert!(
            message.contains("oops") && message.contains("key") && !message.contains("hunter2"),
            "{message}"
        );
    }

    #[test]
    fn templates() {
        let variables = values(&[("host", "db:5432"), ("b", "{{ host }}")]);
        assert_eq!(variables.fill("").unwrap(), "");
        assert_eq!(
            variables.fill("postgres://{{ host }}/x").unwrap(),
            "postgres://db:5432/x"
        );
        // A value is data, not a template.
        assert_eq!(variables.fill("{{ b }}").unwrap(), "{{ host }}");
        assert!(
            variables
                .fill("{{ nope }}")
                .unwrap_err()
                .to_string()
                .contains("\"nope\"")
        );
        assert!(
            variables
                .fill("{{ host")
                .unwrap_err()
                .to_string()
                .contains("doesn't close")
        );
    }

    #[test]
    fn a_component_gets_the_same_errors_as_in_spin() {
        let templates = BTreeMap::from([("url".to_owned(), "x{{ a }}".to_owned())]);
        let component = ComponentVariables::new("c", &templates, &values(&[("a", "1")])).unwrap();
        assert_eq!(component.get("url").unwrap(), "x1");
        assert!(
            matches!(component.get("a"), Err(Error::Undefined(m)) if m == "no variable for \"c\".\"a\"")
        );
        assert!(matches!(component.get("No"), Err(Error::InvalidName(_))));
    }
}
