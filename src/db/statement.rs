//! The definition of a SQL statement: its name, its constant text, the tables it writes, the indexes it uses, and the
//! maximum number of rows it returns.

/// A statement of the registry (`queries::ALL`). Tests check the statement's indexes and rows with EXPLAIN of the same text.
#[derive(Debug)]
pub struct Statement {
    /// The name in logs, percentiles and tests, which begins with the object: `agent_list`.
    pub name: &'static str,
    /// The constant text with parameters such as `$1`, each cast to its type.
    pub sql: &'static str,
    /// Whether the statement only reads, or the tables that it writes.
    pub effect: Effect,
    /// How the statement finds its rows.
    pub access: Access,
    /// The maximum number of rows in the statement's answer.
    pub max_rows: u32,
}

impl Statement {
    /// Whether the statement only reads, so that running it twice does no harm.
    #[must_use]
    pub fn is_read(&self) -> bool {
        matches!(self.effect, Effect::Reads)
    }

    /// Whether the statement writes to this table.
    #[must_use]
    pub fn changes(&self, table: &str) -> bool {
        match self.effect {
            Effect::Reads => false,
            Effect::Writes(tables) => tables.contains(&table),
        }
    }
}

/// The effect of a statement on the database. Tests compare the effect with the statement's text and with its plan.
#[derive(Debug)]
pub enum Effect {
    /// The statement only reads.
    Reads,
    /// The statement writes to these tables. Tables outside of the schema `public` are named with their schema. Foreign keys and triggers may
    /// change other tables.
    Writes(&'static [&'static str]),
}

/// How a statement finds its rows.
#[derive(Debug)]
pub enum Access {
    /// The statement uses these indexes, named as in the migrations.
    Indexes(&'static [&'static str]),
    /// The statement uses all indexes of the first list and one of the second. The planner may choose any, because they cost the same.
    IndexesAndOneOf(&'static [&'static str], &'static [&'static str]),
    /// The statement uses no index, for this reason.
    Scans(&'static str),
    /// The statement only inserts a row. These indexes enforce uniqueness.
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
