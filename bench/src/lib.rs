//! Sends requests to servers and measures the responses, for `scripts/bench` and the tests.

mod contest;
mod load;
mod native;
mod pair;
mod process;

pub use contest::Contest;
pub use load::{Figures, Load};
pub use native::Native;
pub use pair::{Comparison, Ratios, compare};
