//! Splits an address, in either form of libpq, into its settings.

use super::{AddressError, utf8};

/// The settings of an address in order, each with its position (from 1), name and value. The last value of a repeated name counts.
#[derive(Default)]
pub(super) struct Settings {
    pub(super) list: Vec<(usize, String, Vec<u8>)>,
    /// The position after which a name may be a part of the password.
    unsafe_behind: Option<usize>,
}

impl Settings {
    fn push(&mut self, name: &str, value: Vec<u8>) -> Result<(), AddressError> {
        if value.contains(&0) || name.contains('\0') {
            return Err(AddressError::Malformed("it has a NUL character"));
        }
        let position = self.list.len().saturating_add(1);
        self.list.push((position, name.to_owned(), value));
        Ok(())
    }

    /// Adds a setting. If a password contains a space, a ' or an &, the second half of the password may look like a later name.
    fn push_pair(&mut self, name: &str, value: Vec<u8>) -> Result<(), AddressError> {
        if name == "password" {
            self.unsafe_behind.get_or_insert(self.list.len());
        }
        self.push(name, value)
    }

    pub(super) fn bytes(&self, wanted: &str) -> Option<&[u8]> {
        let found = self.list.iter().rev().find(|(_, name, _)| name == wanted);
        found
            .map(|(_, _, value)| value.as_slice())
            .filter(|value| !value.is_empty())
    }

    pub(super) fn text(&self, wanted: &str) -> Result<Option<String>, AddressError> {
        let text = self.bytes(wanted).map(utf8).transpose()?;
        Ok(text.map(str::to_owned))
    }

    /// Whether an error message may repeat a parameter's name.
    pub(super) fn may_name(&self, name: &str, position: usize) -> bool {
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-' || c == '.';
        let is_safe = self.unsafe_behind.is_none_or(|last| position <= last);
        is_safe && name.len() <= 40 && name.chars().all(is_name)
    }

    /// Parses `user:password@host:port,…/dbname?name=value&…`, an address without its scheme.
    pub(super) fn from_url(rest: &str) -> Result<Self, AddressError> {
        if rest.contains(char::is_control) {
            return Err(AddressError::Malformed(
                "it has a line break or another control character",
            ));
        }
        let mut settings = Self::default();
        let path_at = rest.find('/').unwrap_or(rest.len());
        let rest = match rest.split_once('@') {
            Some((before, after)) if before.len() < path_at => {
                settings.push_credentials(before)?;
                after
            }
            Some(_) => return Err(AddressError::Malformed("it has an @ after a /")),
            None => rest,
        };
        if rest.contains('@') {
            return Err(AddressError::Malformed("it has more than one @"));
        }
        if rest.contains('#') {
            return Err(AddressError::Malformed(
                "it has a # after its host, which is written %23",
            ));
        }
        let (location, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (servers, database) = location.split_once('/').unwrap_or((location, ""));
        settings.push_servers(servers)?;
        settings.push("dbname", decoded(database)?)?;
        for piece in query.split('&').filter(|piece| !piece.is_empty()) {
            let (name, value) = match piece.split_once('=') {
                Some((name, value)) => (decoded(name)?, value),
                None => (decoded(piece)?, ""),
            };
            let name = utf8(&name)?;
            // libpq accepts only this parameter of JDBC.
            match (name, value) {
                ("ssl", "true") => settings.push("sslmode", b"require".to_vec())?,
                _ => settings.push_pair(name, decoded(value)?)?,
            }
        }
        Ok(settings)
    }

    fn push_credentials(&mut self, text: &str) -> Result<(), AddressError> {
        // If `text` contains `?name=`, the following @ belongs to a parameter's value, so the address has no user and no password.
        let names_parameter = text.split_once('?').is_some_and(|(_, after)| {
            let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
            after
                .split_once('=')
                .is_some_and(|(name, _)| name.chars().all(is_name))
        });
        if names_parameter {
            return Err(AddressError::Malformed(
                "it has a ? before its host, which is written %3F",
            ));
        }
        let (user, password) = text.split_once(':').unwrap_or((text, ""));
        self.push("user", decoded(user)?)?;
        self.push("password", decoded(password)?)
    }

    fn push_servers(&mut self, text: &str) -> Result<(), AddressError> {
        let (mut hosts, mut ports) = (Vec::new(), Vec::new());
        for server in text.split(',') {
            let (host, port) = match server.strip_prefix('[') {
                Some(address) => {
                    let (address, port) = address
                        .split_once(']')
                        .ok_or(AddressError::Malformed("it has a [ without a ]"))?;
                    match (port, port.strip_prefix(':')) {
                        ("", _) => (address, ""),
                        (_, Some(port)) => (address, port),
                        _ => {
                            return Err(AddressError::Malformed(
                                "its host has a special character",
                            ));
                        }
                    }
                }
                None => server.split_once(':').unwrap_or((server, "")),
            };
            if port.contains(':') {
                return Err(AddressError::Malformed(
                    "it has an IPv6 address that isn't in brackets, or a port with a colon",
                ));
            }
            hosts.push(decoded(host)?);
            ports.push(decoded(port)?);
        }
        let is_empty = |parts: &[Vec<u8>]| parts.iter().all(Vec::is_empty);
        // A host and a port that are missing here may be given as parameters.
        if !is_empty(&hosts) {
            self.push("host", hosts.join(&b','))?;
        }
        if !is_empty(&ports) {
            self.push("port", ports.join(&b','))?;
        }
        Ok(())
    }

    /// Parses `name=value name='value'`.
    pub(super) fn from_pairs(text: &str) -> Result<Self, AddressError> {
        const NEITHER: AddressError =
            AddressError::Malformed("it is neither postgres://… nor host=… dbname=…");
        let mut settings = Self::default();
        let mut rest = text;
        if text.is_empty() {
            return Err(NEITHER);
        }
        while !rest.is_empty() {
            let (name, after) = rest.split_once('=').ok_or(NEITHER)?;
            let name = name.trim_end();
            if name.is_empty() || name.contains(char::is_whitespace) || name.contains("://") {
                return Err(NEITHER);
            }
            let after = after.trim_start();
            let (value, after) = match after.strip_prefix('\'') {
                Some(quoted) => {
                    let (value, after) = unescaped(quoted, |c| c == '\'');
                    let after = after
                        .strip_prefix('\'')
                        .ok_or(AddressError::Malformed("it has a ' without another"))?;
                    (value, after)
                }
                None => unescaped(after, char::is_whitespace),
            };
            settings.push_pair(name, value.into_bytes())?;
            rest = after.trim_start();
        }
        Ok(settings)
    }
}

/// Returns the text before the first character for which `ends` is true, without the backslashes of escapes, and the rest.
fn unescaped(text: &str, ends: impl Fn(char) -> bool) -> (String, &str) {
    let mut value = String::new();
    let mut characters = text.chars();
    loop {
        let rest = characters.as_str();
        match characters.next() {
            None => return (value, rest),
            Some(c) if ends(c) => return (value, rest),
            Some('\\') => value.extend(characters.next()),
            Some(c) => value.push(c),
        }
    }
}

/// Decodes percent-encoding. Refuses a % without two hexadecimal digits, like libpq but unlike the driver.
fn decoded(text: &str) -> Result<Vec<u8>, AddressError> {
    let is_encoded = |after: &str| {
        let digits = after.as_bytes().get(..2);
        digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    };
    if !text.split('%').skip(1).all(is_encoded) {
        return Err(AddressError::Malformed("it has a % that encodes nothing"));
    }
    Ok(percent_encoding::percent_decode_str(text).collect())
}
