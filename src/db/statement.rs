//! What a SQL statement is to us: a name, constant text, and what it promises about indexes and rows.

/// One statement of the registry (`queries::ALL`). The promises are kept by tests, which explain this very text.
#[derive(Debug)]
pub struct Statement {
    /// Object first: `agent_list`. The name in logs, percentiles and tests.
    pub name: &'static str,
    /// Constant text with `$1` parameters, each cast to its type; in parts, as statements share some.
    pub sql: &'static [&'static str],
    /// How it finds its rows.
    pub access: Access,
    /// The most rows it may put into its answer.
    pub max_rows: u32,
}

impl Statement {
    /// Its text.
    #[must_use]
    pub fn sql(&self) -> String {
        self.sql.concat()
    }

    /// Whether it only reads, so that running it twice does no harm. A test holds this against its plan.
    #[must_use]
    pub fn is_read(&self) -> bool {
        let writes = ["INSERT INTO ", "UPDATE ", "DELETE FROM ", "write_once("];
        !writes.iter().any(|words| self.says(words))
    }

    /// Whether it writes to this table.
    #[must_use]
    pub fn changes(&self, table: &str) -> bool {
        let mut writes = ["INSERT INTO ", "UPDATE ", "DELETE FROM "].into_iter();
        writes.any(|words| self.says(&[words, "public.", table, " "].concat()))
    }

    /// Whether one of its parts has these words; none that's asked for is ever in two (a test sees to it).
    fn says(&self, words: &str) -> bool {
        self.sql.iter().any(|part| part.contains(words))
    }
}

/// How a statement finds its rows.
#[derive(Debug)]
pub enum Access {
    /// By these indexes, named as in the migrations.
    Indexes(&'static [&'static str]),
    /// By all of the first, and by any of the others: those cost the same, and the planner may take either.
    IndexesAndOneOf(&'static [&'static str], &'static [&'static str]),
    /// Without one, and why that's right.
    Scans(&'static str),
    /// It finds none: it makes one, and what must be unique is unique by these indexes.
    Inserts(&'static [&'static str]),
}

impl Access {
    /// The indexes that must be there for it: those it uses whatever the planner prefers.
    #[must_use]
    pub fn indexes(&self) -> &'static [&'static str] {
        match self {
            Self::Indexes(indexes) | Self::IndexesAndOneOf(indexes, _) | Self::Inserts(indexes) => {
                indexes
            }
            Self::Scans(_) => &[],
        }
    }
}
