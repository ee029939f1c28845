//! Tests of the performance report on unusual databases. The tables and views that the report reads may be missing, locked or not
//! readable. The SQL that the report advises must work with messages in one table and in partitions.

mod advice;
mod advice_sql;
mod sources;
