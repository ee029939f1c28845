//! Lines for the operator, on stderr. Whoever read them may be gone; that must not end what's under way, as the panic of
//! `eprintln!` would: not a request, nor the task that waits for the signal to stop.

/// As `eprintln!`, but what can't be written is lost.
macro_rules! log {
    ($($line:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stderr(), $($line)*);
    }};
}

pub(crate) use log;
