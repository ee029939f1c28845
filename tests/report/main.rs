//! The report on databases of operators. Its sources may be missing, hidden or locked, and its advice must work on every layout.

mod advice;
mod advice_sql;
mod sources;
