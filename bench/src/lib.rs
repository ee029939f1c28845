//! Loading servers with requests: what `scripts/bench` and the tests measure with. It measures; it judges nothing.

mod contest;
mod load;
mod native;
mod pair;
mod process;

pub use contest::Contest;
pub use load::{Figures, Load};
pub use native::Native;
pub use pair::{Comparison, Ratios, compare};
