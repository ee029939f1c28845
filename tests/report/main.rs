//! The report on databases that other people run: sources that are missing, hidden or locked, and advice that can be
//! followed on every layout.

mod advice;
mod advice_sql;
mod sources;
