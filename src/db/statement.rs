//! The definition of a SQL statement: its name, its constant text, the indexes it uses and its most rows.

/// A statement of the registry (`queries::ALL`). Tests check its indexes and rows with EXPLAIN of the same text.
#[derive(Debug)]
pub struct Statement {
    /// The name in logs, percentiles and tests. The object comes first: `agent_list`.
    pub name: &'static str,
    /// The constant text with parameters such as `$1`, each cast to its type. It has parts because statements share some.
    pub sql: &'static [&'static str],
    /// How it finds its rows.
    pub access: Access,
    /// The most rows it may put into its answer.
    pub max_rows: u32,
}

impl Statement {
    /// Returns the text.
    #[must_use]
    pub fn sql(&self) -> String {
        self.sql.concat()
    }

    /// Whether the statement only reads, so that running it twice does no harm. A test compares this with its plan.
    #[must_use]
    pub fn is_read(&self) -> bool {
        let writes = ["INSERT INTO ", "UPDATE ", "DELETE FROM ", "write_once("];
        !writes.iter().any(|words| self.says(words))
    }

    /// Whether the statement writes to this table.
    #[must_use]
    pub fn changes(&self, table: &str) -> bool {
        let mut writes = ["INSERT INTO ", "UPDATE ", "DELETE FROM "].into_iter();
        writes.any(|words| self.says(&[words, "public.", table, " "].concat()))
    }

    /// Whether one of the parts contains these words. A test ensures that no such words span two parts.
    fn says(&self, words: &str) -> bool {
        self.sql.iter().any(|part| part.contains(words))
    }
}

/// How a statement finds its rows.
#[derive(Debug)]
pub enum Access {
    /// By these indexes, named as in the migrations.
    Indexes(&'static [&'static str]),
    /// By all indexes of the first list and any of the second. Those of the second list cost the same, so the planner may use any.
    IndexesAndOneOf(&'static [&'static str], &'static [&'static str]),
    /// Without an index, for this reason.
    Scans(&'static str),
    /// The statement finds no rows but inserts one. These indexes enforce uniqueness.
    Inserts(&'static [&'static str]),
}

impl Access {
    /// Returns the indexes that the statement always uses, without the alternatives from which the planner chooses one.
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
