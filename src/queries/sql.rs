//! Parts of SQL that several statements share.

/// Columns with times as the API shows them: in UTC with six digits and `Z`, regardless of the session's settings.
macro_rules! times {
    ($column:literal $(, $more:literal)*) => {
        concat!(
            $crate::queries::sql::time!($column), " AS ", $column
            $(, ", ", $crate::queries::sql::time!($more), " AS ", $more)*
        )
    };
}

/// A time as the API shows it, as text.
macro_rules! time {
    ($time:expr) => {
        concat!(
            "to_char((",
            $time,
            ") AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')"
        )
    };
}

pub(super) use {time, times};
