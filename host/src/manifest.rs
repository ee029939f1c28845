//! Reads spin.toml and the runtime configuration, and checks their structure. `variables.rs` fills in the templates later. If a file has a
//! setting that this host doesn't support, the error names the setting.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use anyhow::{Result, anyhow, ensure};
use serde::{Deserialize, de::IgnoredAny};

use crate::key_value;

/// `spin.toml`, manifest version 2.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    spin_manifest_version: u32,
    #[serde(rename = "application")]
    _application: Application,
    /// `[variables]`
    #[serde(default)]
    pub variables: BTreeMap<String, Variable>,
    /// `[[trigger.http]]`
    pub trigger: Triggers,
    /// `[component.ID]`
    #[serde(default)]
    pub component: BTreeMap<String, Component>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(
    dead_code,
    reason = "metadata: read to accept it and to refuse anything else"
)]
struct Application {
    name: String,
    version: Option<String>,
    description: Option<String>,
    authors: Option<Vec<String>>,
    targets: Option<IgnoredAny>,
    tool: Option<IgnoredAny>,
}

/// One entry of `[variables]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Variable {
    #[serde(rename = "description")]
    _description: Option<String>,
    /// Whether the application needs a value to start. A required variable can't have a default.
    #[serde(default)]
    pub required: bool,
    /// The value if no other is set.
    pub default: Option<String>,
    /// The host accepts and ignores this setting, because the host never prints the value of a variable.
    #[serde(default, rename = "secret")]
    _secret: bool,
}

/// All triggers. This host supports only HTTP.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Triggers {
    /// The HTTP triggers, in the manifest's order.
    pub http: Vec<HttpTrigger>,
}

/// One `[[trigger.http]]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpTrigger {
    #[serde(rename = "id")]
    _id: Option<String>,
    /// The route as written: `/exact` or `/prefix/...`
    pub route: String,
    /// The component's id.
    pub component: String,
}

/// One `[component.ID]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Component {
    /// The .wasm file, relative to the manifest.
    pub source: PathBuf,
    /// Templates of the addresses that the component may reach.
    #[serde(default)]
    pub allowed_outbound_hosts: Vec<String>,
    /// The key-value stores that the component may open.
    #[serde(default)]
    pub key_value_stores: Vec<String>,
    /// Templates of the variables that the component sees.
    #[serde(default)]
    pub variables: BTreeMap<String, String>,
    #[serde(rename = "description")]
    _description: Option<String>,
    #[serde(rename = "build")]
    _build: Option<IgnoredAny>,
    #[serde(rename = "targets")]
    _targets: Option<IgnoredAny>,
    #[serde(rename = "tool")]
    _tool: Option<IgnoredAny>,
}

impl Manifest {
    /// Reads the manifest and checks everything that doesn't depend on variables or component files.
    pub fn read(path: &Path) -> Result<Self> {
        let mut manifest = Self::parse(
            path,
            &read_text(path, "pass the manifest's path with --from")?,
        )?;
        let folder = path.parent().unwrap_or(Path::new(""));
        for component in manifest.component.values_mut() {
            component.source = folder.join(&component.source);
        }
        Ok(manifest)
    }

    fn parse(path: &Path, text: &str) -> Result<Self> {
        let manifest: Self = parse_toml(path, text)?;
        let shown = path.display();
        ensure!(
            manifest.spin_manifest_version == 2,
            "{shown}: spin_manifest_version is {}; this host reads version 2",
            manifest.spin_manifest_version
        );
        ensure!(
            !manifest.trigger.http.is_empty(),
            "{shown}: no [[trigger.http]]; add one with a route and a component"
        );
        for trigger in &manifest.trigger.http {
            ensure!(
                manifest.component.contains_key(&trigger.component),
                "{shown}: route {:?} names component {:?}, but there is no [component.{}]",
                trigger.route,
                trigger.component,
                trigger.component
            );
        }
        for (id, component) in &manifest.component {
            for label in &component.key_value_stores {
                ensure!(
                    label == key_value::LABEL,
                    "{shown}: component {id:?} wants the key-value store {label:?}; this host has {:?} only",
                    key_value::LABEL
                );
            }
        }
        for (name, variable) in &manifest.variables {
            ensure!(
                variable.required != variable.default.is_some(),
                "{shown}: variable {name:?} needs either `required = true` or a `default`"
            );
        }
        Ok(manifest)
    }
}

/// The settings that this host supports in a runtime configuration file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuntimeConfig {
    /// `[outbound_pg]`
    #[serde(default)]
    pub outbound_pg: OutboundPg,
}

/// The settings of all components' database connections.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutboundPg {
    /// The maximum number of connections.
    pub max_connections: Option<usize>,
}

impl RuntimeConfig {
    /// Reads the runtime configuration file. Without a file, all settings have their defaults.
    pub fn read(path: Option<&Path>) -> Result<Self> {
        let Some(path) = path else {
            return Ok(Self::default());
        };
        let config: Self = parse_toml(
            path,
            &read_text(path, "pass another --runtime-config-file")?,
        )?;
        ensure!(
            config.outbound_pg.max_connections != Some(0),
            "{}: outbound_pg.max_connections is 0, so no query could ever run; write 1 or more",
            path.display()
        );
        Ok(config)
    }
}

fn read_text(path: &Path, remedy: &str) -> Result<String> {
    let text = std::fs::read_to_string(path);
    text.map_err(|error| anyhow!("can't read {}: {error}; {remedy}", path.display()))
}

/// Parses a file. The error is one line with the line number. The parser's own message isn't used, because it has several lines and quotes the
/// file.
fn parse_toml<T: serde::de::DeserializeOwned>(path: &Path, text: &str) -> Result<T> {
    toml::from_str(text).map_err(|error| {
        let line = error.span().map_or(1, |span| {
            1 + text[..span.start.min(text.len())].matches('\n').count()
        });
        let remedy = if error.message().starts_with("unknown field") {
            "; correct or remove it, or run the application with Spin"
        } else {
            ""
        };
        anyhow!(
            "{} line {line}: {}{remedy}",
            path.display(),
            error.message()
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
spin_manifest_version = 2
[application]
name = "a"
[variables]
url = { default = "x", secret = true }
key = { required = true }
[[trigger.http]]
route = "/..."
component = "c"
[component.c]
source = "c.wasm"
variables = { url = "{{ url }}" }
[component.c.build]
command = "cargo build"
"#;

    fn error(text: &str) -> String {
        format!(
            "{:#}",
            Manifest::parse(Path::new("spin.toml"), text).unwrap_err()
        )
    }

    #[test]
    fn a_valid_manifest_is_parsed() {
        let manifest = Manifest::parse(Path::new("spin.toml"), GOOD).unwrap();
        assert_eq!(manifest.trigger.http[0].component, "c");
        assert_eq!(manifest.component["c"].source, Path::new("c.wasm"));
        assert!(manifest.variables["key"].required);
    }

    #[test]
    fn the_repositorys_own_manifest_is_read() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../spin.toml");
        assert!(Manifest::read(&path).is_ok());
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../runtime-config.toml");
        assert!(
            RuntimeConfig::read(Some(&path))
                .unwrap()
                .outbound_pg
                .max_connections
                .is_some()
        );
    }

    #[test]
    fn unsupported_settings_are_reported_with_their_line() {
        for setting in [
            "sqlite_databases = [\"default\"]",
            "ai_models = []",
            "files = []",
            "environment = {}",
        ] {
            let name = setting.split(' ').next().unwrap();
            let text = GOOD.replace("source =", &format!("{setting}\nsource ="));
            let message = error(&text);
            assert!(
                message.starts_with(&format!("spin.toml line 12: unknown field `{name}`")),
                "{message}"
            );
            assert!(!message.contains('\n'), "{message}");
        }
        assert!(
            error(&GOOD.replace("trigger.http", "trigger.redis")).contains("unknown field `redis`")
        );
    }

    #[test]
    fn manifest_errors_explain_the_mistake() {
        assert!(error("spin_manifest_version = ").contains("line 1"));
        assert!(error(&GOOD.replace("= 2", "= 1")).contains("version 2"));
        assert!(
            error(&GOOD.replace("component = \"c\"", "component = \"d\""))
                .contains("no [component.d]")
        );
        assert!(
            error(&GOOD.replace(
                "source =",
                "key_value_stores = [\"default\", \"mine\"]\nsource ="
            ))
            .contains("the key-value store \"mine\"; this host has \"default\" only")
        );
        assert!(
            error(&GOOD.replace("required = true", "secret = true")).contains("variable \"key\"")
        );
    }
}
