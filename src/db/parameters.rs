//! Converts a statement's parameters to texts for a write with an idempotency key, and to hashes.
//!
//! The module contains no SQL, and sends nothing.

use std::hash::Hasher as _;

use spin_sdk::pg::ParameterValue;
use twox_hash::XxHash64;

use super::{DbError, Query};

/// The maximum number of parameters of a write with an idempotency key. The function `write_once` of migration 0007 passes on this many.
const MOST_ONCE_PARAMETERS: usize = 8;

/// Returns the parameters of the statement that runs `query` once under a key: the key, and the name, the SQL text and the parameters of
/// `query`. The parameters of `query` are converted to texts.
pub(super) fn once_parameters(key: &str, query: &Query) -> Result<Vec<ParameterValue>, DbError> {
    if query.parameters.len() > MOST_ONCE_PARAMETERS {
        return Err(DbError::Other {
            statement: query.name,
            reason: format!("more than {MOST_ONCE_PARAMETERS} parameters"),
        });
    }
    Ok(vec![
        ParameterValue::Str(key.to_owned()),
        ParameterValue::Str(query.name.to_owned()),
        ParameterValue::Str(query.sql.to_string()),
        ParameterValue::ArrayStr(texts(query.name, &query.parameters)?),
    ])
}

/// Returns a statement's parameters as texts.
pub(super) fn texts(
    statement: &'static str,
    parameters: &[ParameterValue],
) -> Result<Vec<Option<String>>, DbError> {
    let texts = parameters.iter().map(|parameter| match parameter {
        ParameterValue::Str(text) | ParameterValue::Uuid(text) => Ok(Some(text.clone())),
        ParameterValue::Int32(number) => Ok(Some(number.to_string())),
        ParameterValue::Int64(number) => Ok(Some(number.to_string())),
        ParameterValue::Boolean(value) => Ok(Some(value.to_string())),
        ParameterValue::DbNull => Ok(None),
        _ => Err(DbError::Other {
            statement,
            reason: "it has a parameter that isn't a text, a number or a truth value".to_owned(),
        }),
    });
    texts.collect()
}

/// The maximum size in bytes of the text in parameters that are kept for a slow query's plan.
const MOST_KEPT_BYTES: usize = 64 * 1024;

/// Whether the parameters are small enough to be kept for a plan.
pub(super) fn is_small(parameters: &[ParameterValue]) -> bool {
    parameters
        .iter()
        .map(|parameter| match parameter {
            ParameterValue::Str(text) => text.len(),
            ParameterValue::ArrayStr(texts) => texts.iter().flatten().map(String::len).sum(),
            _ => 0,
        })
        .fold(0, usize::saturating_add)
        <= MOST_KEPT_BYTES
}

/// Returns a hash of a statement and its parameters. Two statements may have the same hash. Instances that share a cache must compute the same
/// hash even if different compilers built them, so this function doesn't use `std::hash::Hash`.
pub(super) fn fingerprint(statement: &str, parameters: &[ParameterValue]) -> u64 {
    let mut hasher = XxHash64::with_seed(0);
    let mut write = |kind: u8, bytes: &[u8]| {
        hasher.write(&[kind]);
        hasher.write(&(bytes.len() as u64).to_le_bytes());
        hasher.write(bytes);
    };
    write(0, statement.as_bytes());
    for parameter in parameters {
        match parameter {
            ParameterValue::Uuid(text) | ParameterValue::Str(text) => write(1, text.as_bytes()),
            ParameterValue::Int32(number) => write(2, &number.to_le_bytes()),
            ParameterValue::Int64(number) => write(3, &number.to_le_bytes()),
            ParameterValue::Boolean(value) => write(4, &[u8::from(*value)]),
            ParameterValue::ArrayStr(texts) => {
                write(5, &(texts.len() as u64).to_le_bytes());
                for text in texts {
                    write(
                        u8::from(text.is_some()),
                        text.as_deref().unwrap_or_default().as_bytes(),
                    );
                }
            }
            // The value is NULL, because no statement takes parameters of other types.
            _ => write(6, &[]),
        }
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_depends_on_every_parameter() {
        let of = |id: &str, number| {
            let parameters = [
                ParameterValue::Uuid(id.to_owned()),
                ParameterValue::Int32(number),
            ];
            fingerprint("agent_get", &parameters)
        };
        assert_eq!(of("a", 1), of("a", 1));
        assert_ne!(of("a", 1), of("a", 2));
        assert_ne!(of("a", 1), of("b", 1));
    }

    #[test]
    fn a_fingerprint_does_not_depend_on_the_compiler() {
        let parameters = [
            ParameterValue::Int64(-1),
            ParameterValue::ArrayStr(vec![Some("a".to_owned()), None]),
            ParameterValue::DbNull,
        ];
        assert_eq!(
            fingerprint("agent_get", &parameters),
            4_560_537_740_299_471_061
        );
    }
}
