//! Loading servers with requests: what `scripts/bench` and the tests measure with. It measures; it judges nothing.

mod load;
mod pair;

pub use load::{Figures, Load};
pub use pair::{Comparison, Ratios, compare};
