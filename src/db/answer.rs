//! The answer to a statement. Every statement of the API returns at most one row, which has one or two texts.

use spin_sdk::pg::DbValue;

use super::DbError;

/// The result of a statement: one row of one or two texts. If there is no row, both fields are `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// The JSON that PostgreSQL built.
    pub json: Option<String>,
    /// The second text, for example the cursor of the next page, or the reason why a write changed nothing.
    pub note: Option<String>,
}

impl Answer {
    /// Returns the answer in the rows of a statement, or an error that names unexpected rows.
    pub(super) fn of_rows(
        statement: &'static str,
        mut rows: Vec<Vec<DbValue>>,
    ) -> Result<Self, DbError> {
        let row_count = rows.len();
        let Some(row) = rows.pop() else {
            return Ok(Self::default());
        };
        let column_count = row.len();
        let mut texts: Result<Vec<_>, _> = row.into_iter().map(text_or_null).collect();
        let found = match texts.as_deref_mut() {
            _ if row_count > 1 => format!("{row_count} rows"),
            Ok([json, rest @ ..]) if rest.len() < 2 => {
                return Ok(Self {
                    json: json.take(),
                    note: rest.first_mut().and_then(Option::take),
                });
            }
            _ => format!("{column_count} columns of other types"),
        };
        Err(DbError::Decode { statement, found })
    }
}

/// Returns the text, `None` for NULL, or any other value as the error.
fn text_or_null(value: DbValue) -> Result<Option<String>, DbValue> {
    match value {
        DbValue::Str(text) => Ok(Some(text)),
        DbValue::DbNull => Ok(None),
        other => Err(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_at_most_one_row_with_one_or_two_text_columns() {
        let text = || DbValue::Str("{}".to_owned());
        let answer = |json: Option<&str>, note: Option<&str>| Answer {
            json: json.map(str::to_owned),
            note: note.map(str::to_owned),
        };
        for (rows, expected) in [
            (vec![], answer(None, None)),
            (vec![vec![DbValue::DbNull]], answer(None, None)),
            (vec![vec![text()]], answer(Some("{}"), None)),
            (
                vec![vec![text(), DbValue::DbNull]],
                answer(Some("{}"), None),
            ),
            (
                vec![vec![DbValue::DbNull, text()]],
                answer(None, Some("{}")),
            ),
        ] {
            assert_eq!(Answer::of_rows("s", rows).unwrap(), expected);
        }
        for (rows, found) in [
            (vec![vec![]], "0 columns"),
            (vec![vec![text(), text(), text()]], "3 columns"),
            (vec![vec![text()], vec![text()]], "2 rows"),
            (
                vec![vec![DbValue::Boolean(true)]],
                "1 columns of other types",
            ),
        ] {
            let error = Answer::of_rows("s", rows).unwrap_err().to_string();
            assert!(error.contains(found), "{error}");
        }
    }
}
