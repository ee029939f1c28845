//! A compact histogram of durations. Its percentiles are within 1 % of the exact ones. Histograms can be merged without loss, so the
//! percentiles of many instances are computed from their merged histograms.
//!
//! This is a `DDSketch` (Masson, Rim and Lee, PVLDB 12, 2019: <https://www.vldb.org/pvldb/vol12/p2195-masson.pdf>) over whole microseconds
//! (`_us`). The module uses no clock and no database. Its functions never wait and never panic, even on invalid database rows. Sums saturate at
//! `u64::MAX`.

use std::collections::BTreeMap;

use super::Target;

/// The durations of one statement or route: counts in bins, each 2 % wider than the one below, and exact totals.
///
/// A sketch has at most 2,220 bins for any number of durations, and a few dozen in practice.
///
/// ```
/// use reznet_edge::profile::{Sketch, Target};
///
/// let (mut here, mut there) = (Sketch::new(), Sketch::new());
/// let target = Target::default();
/// for elapsed_us in 1..=50_000 {
///     here.record(elapsed_us, false, target);
///     there.record(elapsed_us + 50_000, false, target);
/// }
/// here.merge(&there);
/// let p95_us = here.quantile_us(0.95).unwrap();
/// assert!((p95_us - 95_000.0).abs() <= 0.01 * 95_000.0);
/// assert_eq!(here.count(), 100_000);
/// assert_eq!(here.totals().within_target_count, 99_999);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sketch {
    /// The number of durations in each bin that isn't empty, by the bin's index.
    bins: BTreeMap<i32, u64>,
    /// The sum of the counts in all bins.
    count: u64,
    totals: SketchTotals,
}

/// The exact totals of a sketch, besides its count. Sums saturate at `u64::MAX`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SketchTotals {
    /// The number of durations that ended in an error.
    pub errors: u64,
    /// The sum of all durations.
    pub sum_us: u64,
    /// The longest duration.
    pub max_us: u64,
    /// The number of durations within the target that they were recorded with, failed ones included.
    pub within_target_count: u64,
}

impl Sketch {
    /// α: the largest relative error of an estimate.
    pub const ALPHA: f64 = 0.01;

    /// γ = (1 + α) / (1 − α): the ratio of a bin's width to that of the bin below. As a float, γ is equal to 101.0 / 99.0.
    pub const GAMMA: f64 = (1.0 + Self::ALPHA) / (1.0 - Self::ALPHA);

    /// ln γ, computed from γ as a float.
    pub const LN_GAMMA: f64 = 0.020_000_666_706_669_435;

    /// The index of the bin for durations of 0, which are below the clock's resolution and have no logarithm.
    pub const ZERO_INDEX: i32 = -1;

    /// The index of the bin for `u64::MAX`, which is the highest bin.
    pub const MAX_INDEX: i32 = 2218;

    /// Creates an empty sketch.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Restores a stored sketch from its bins, as (index, count) in any order, and its totals.
    ///
    /// Rows may be invalid. Counts with the same index are added up, and an index out of range counts as the nearest bin. Totals that contradict the
    /// bins are corrected: errors, and durations within target, are at most the count, and the maximum is no lower than the highest bin. So a lost
    /// maximum can't lower the percentiles, which never exceed the maximum.
    ///
    /// ```
    /// use reznet_edge::profile::{Sketch, Target};
    ///
    /// let mut sketch = Sketch::new();
    /// sketch.record(45_230, false, Target::default());
    /// assert_eq!(Sketch::from_bins(sketch.bins(), *sketch.totals()), sketch);
    /// ```
    #[must_use]
    pub fn from_bins(bins: impl IntoIterator<Item = (i32, u64)>, totals: SketchTotals) -> Self {
        let mut sketch = Self {
            totals,
            ..Self::default()
        };
        for (index, count) in bins {
            sketch.add(index.clamp(Self::ZERO_INDEX, Self::MAX_INDEX), count);
        }
        let totals = &mut sketch.totals;
        totals.errors = totals.errors.min(sketch.count);
        totals.within_target_count = totals.within_target_count.min(sketch.count);
        if let Some((&highest, _)) = sketch.bins.last_key_value()
            && Self::bin_index(totals.max_us) < highest
        {
            totals.max_us = whole(Self::bin_value_us(highest).ceil());
        }
        sketch
    }

    /// Adds one duration and judges it by `target`. `failed` means that the measured request or statement ended in an error.
    pub fn record(&mut self, elapsed_us: u64, failed: bool, target: Target) {
        self.record_weighted(elapsed_us, failed, target, 1);
    }

    /// Adds one duration that counts `weight` times, for example if only 1 in `weight` requests is profiled. A weight of 0 adds nothing.
    pub fn record_weighted(&mut self, elapsed_us: u64, failed: bool, target: Target, weight: u64) {
        if weight == 0 {
            return;
        }
        self.add(Self::bin_index(elapsed_us), weight);
        self.totals.add(&SketchTotals {
            errors: if failed { weight } else { 0 },
            sum_us: elapsed_us.saturating_mul(weight),
            max_us: elapsed_us,
            within_target_count: if target.is_met_by(elapsed_us) {
                weight
            } else {
                0
            },
        });
    }

    /// Adds another sketch. The result is the same as recording the durations of both in one sketch, in any order.
    pub fn merge(&mut self, other: &Self) {
        for (index, count) in other.bins() {
            self.add(index, count);
        }
        self.totals.add(&other.totals);
    }

    /// Returns the `q`-quantile in microseconds, for example p95 for 0.95. Returns `None` if the sketch is empty.
    ///
    /// The result is an estimate of the value of rank ⌊q·(count − 1)⌋ in ascending order, counted from 0 (the paper's lower quantile), within
    /// [`ALPHA`](Self::ALPHA) of that value and never above the maximum. A `q` outside 0 to 1 is replaced by the nearer limit, and NaN by 0.
    /// The result isn't rounded, because whole microseconds are too coarse below 100.
    ///
    /// ```
    /// use reznet_edge::profile::{Sketch, Target};
    ///
    /// let mut sketch = Sketch::new();
    /// assert_eq!(sketch.quantile_us(0.5), None);
    /// for elapsed_us in [1_000, 2_000, 400_000] {
    ///     sketch.record(elapsed_us, false, Target::default());
    /// }
    /// assert!((sketch.quantile_us(0.5).unwrap() - 2_000.0).abs() <= 20.0);
    /// ```
    #[must_use]
    pub fn quantile_us(&self, q: f64) -> Option<f64> {
        let last_rank = self.count.checked_sub(1)?;
        // `whole` returns 0 for a negative `q` and for NaN. Above 2^53, rounding may exceed the last rank even for q = 1.
        let rank = whole(q * float(last_rank)).min(last_rank);
        let mut seen: u64 = 0;
        let index = self.bins().find_map(|(index, count)| {
            seen = seen.saturating_add(count);
            (seen > rank).then_some(index)
        })?;
        Some(Self::bin_value_us(index).min(float(self.totals.max_us)))
    }

    /// Returns the number of durations, weights included.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Returns the exact totals, besides the count.
    #[must_use]
    pub fn totals(&self) -> &SketchTotals {
        &self.totals
    }

    /// Whether the sketch has no durations.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Returns the non-empty bins as (index, count), by index, in the form that the database stores.
    pub fn bins(&self) -> impl Iterator<Item = (i32, u64)> {
        self.bins.iter().map(|(&index, &count)| (index, count))
    }

    /// Returns the bin of a duration: ⌈ln v / ln γ⌉, so bin i is (γ^(i−1), γ^i], or [`ZERO_INDEX`](Self::ZERO_INDEX) for 0.
    ///
    /// The same in PostgreSQL:
    ///
    /// ```sql
    /// CASE WHEN us = 0 THEN -1 ELSE ceil(ln(us::float8) / ln(101::float8 / 99))::int END
    /// ```
    ///
    /// Logarithms of two libraries may differ in the last digit. Up to an hour, no whole microsecond is so near to a bin's edge that the
    /// difference changes the bin. A longer duration could be in the adjacent bin.
    ///
    /// ```
    /// use reznet_edge::profile::Sketch;
    ///
    /// assert_eq!(Sketch::bin_index(1), 0);
    /// assert_eq!(Sketch::bin_index(100_000), 576);
    /// ```
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "whole, and between 0 and MAX_INDEX"
    )]
    pub fn bin_index(elapsed_us: u64) -> i32 {
        if elapsed_us == 0 {
            return Self::ZERO_INDEX;
        }
        (float(elapsed_us).ln() / Self::LN_GAMMA).ceil() as i32
    }

    /// Returns the estimate for a bin's durations in microseconds: 2γ^i / (γ + 1), which is within α of each of them. Returns 0
    /// for [`ZERO_INDEX`](Self::ZERO_INDEX) and below.
    ///
    /// The same in PostgreSQL:
    ///
    /// ```sql
    /// CASE WHEN i < 0 THEN 0 ELSE 2 * power(101::float8 / 99, i) / (101::float8 / 99 + 1) END
    /// ```
    ///
    /// ```
    /// use reznet_edge::profile::Sketch;
    ///
    /// let estimate_us = Sketch::bin_value_us(Sketch::bin_index(100_000));
    /// assert!((estimate_us - 100_000.0).abs() <= 1_000.0);
    /// ```
    #[must_use]
    pub fn bin_value_us(index: i32) -> f64 {
        if index <= Self::ZERO_INDEX {
            return 0.0;
        }
        2.0 * Self::GAMMA.powi(index) / (Self::GAMMA + 1.0)
    }

    fn add(&mut self, index: i32, count: u64) {
        if count == 0 {
            return;
        }
        let bin = self.bins.entry(index).or_default();
        *bin = bin.saturating_add(count);
        self.count = self.count.saturating_add(count);
    }
}

impl SketchTotals {
    fn add(&mut self, other: &Self) {
        self.errors = self.errors.saturating_add(other.errors);
        self.sum_us = self.sum_us.saturating_add(other.sum_us);
        self.max_us = self.max_us.max(other.max_us);
        self.within_target_count = self
            .within_target_count
            .saturating_add(other.within_target_count);
    }
}

/// Returns the nearest float.
#[expect(
    clippy::cast_precision_loss,
    reason = "exact up to 2^53, 285 years of microseconds; beyond it 1e-16 off, where 1e-2 is promised"
)]
fn float(number: u64) -> f64 {
    number as f64
}

/// Returns the integer part, 0 for negative numbers and NaN, or `u64::MAX` for numbers that are too large.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "`as` never panics here, and does just what is wanted"
)]
fn whole(number: f64) -> u64 {
    number as u64
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::test_runner::{RngAlgorithm, TestRng};
    use rand_distr::{Bernoulli, Distribution, LogNormal, Pareto, Uniform};

    use super::*;

    /// α plus the rounding error of floats.
    const TOLERANCE: f64 = Sketch::ALPHA * (1.0 + 1e-9);

    /// An hour, which no request exceeds.
    const HOUR_US: u64 = 3_600_000_000;

    fn sketch_of(values_us: &[u64]) -> Sketch {
        let mut sketch = Sketch::new();
        for &elapsed_us in values_us {
            sketch.record(elapsed_us, false, Target::default());
        }
        sketch
    }

    fn within_alpha(estimate_us: f64, exact_us: u64) -> bool {
        (estimate_us - float(exact_us)).abs() <= TOLERANCE * float(exact_us)
    }

    /// Returns the nearest whole values on both sides of each bin's edges.
    fn edges() -> impl Iterator<Item = u64> {
        (1..Sketch::MAX_INDEX).flat_map(|index| {
            let below = whole(Sketch::GAMMA.powi(index));
            [below, below.saturating_add(1)]
        })
    }

    // --- the formulas ---

    #[test]
    fn constants_equal_their_definitions() {
        assert_eq!(Sketch::GAMMA.to_bits(), (101.0_f64 / 99.0).to_bits());
        assert_eq!(Sketch::LN_GAMMA.to_bits(), Sketch::GAMMA.ln().to_bits());
        assert_eq!(Sketch::bin_index(u64::MAX), Sketch::MAX_INDEX);
    }

    #[test]
    fn bin_indexes_match_exact_arithmetic() {
        // Computed with 60 decimal digits.
        for (elapsed_us, index) in [
            (0, -1),
            (1, 0),
            (2, 35),
            (3, 55),
            (10, 116),
            (99, 230),
            (100, 231),
            (1_000, 346),
            (12_450, 472),
            (100_000, 576),
            (1_000_000, 691),
            (60_000_000, 896),
            (HOUR_US, 1101),
            (1 << 53, 1837),
            (u64::MAX, 2218),
        ] {
            assert_eq!(Sketch::bin_index(elapsed_us), index, "{elapsed_us}");
        }
    }

    #[test]
    fn a_bin_value_is_within_alpha_of_every_value_in_the_bin() {
        assert!(within_alpha(Sketch::bin_value_us(Sketch::ZERO_INDEX), 0));
        for elapsed_us in (0..=200_000).chain(edges()).chain([u64::MAX]) {
            let index = Sketch::bin_index(elapsed_us);
            assert!(
                within_alpha(Sketch::bin_value_us(index), elapsed_us),
                "{elapsed_us} is in bin {index}"
            );
        }
    }

    /// Checks that Rust computes the same bins as `ceil(ln(v) / ln(gamma))` in SQL. Also checks that no value is so near to an edge that a
    /// difference in the last digit could move the value across.
    #[test]
    fn sql_and_rust_compute_the_same_bin_up_to_one_hour() {
        let mut count = 0;
        for elapsed_us in (2..=200_000).chain(edges().filter(|v| (2..=HOUR_US).contains(v))) {
            let in_sql = float(elapsed_us).ln() / (101.0_f64 / 99.0).ln();
            let index = f64::from(Sketch::bin_index(elapsed_us));
            assert_eq!(in_sql.ceil().to_bits(), index.to_bits(), "{elapsed_us}");
            // The last digit of these numbers is 2e-13, so a difference in the last digit doesn't reach the edge.
            assert!((in_sql - in_sql.round()).abs() > 2e-11, "{elapsed_us}");
            count += 1;
        }
        assert!(count > 201_000, "only {count} values were compared");
    }

    // --- counts and totals ---

    #[test]
    fn totals_are_exact() {
        let mut sketch = Sketch::new();
        for (elapsed_us, failed) in [(1_500, false), (99_999, true), (100_000, false), (0, true)] {
            sketch.record(elapsed_us, failed, Target::default());
        }
        assert_eq!(sketch.count(), 4);
        assert_eq!(
            *sketch.totals(),
            SketchTotals {
                errors: 2,
                sum_us: 201_499,
                max_us: 100_000,
                // Exactly 100 ms isn't under 100 ms.
                within_target_count: 3,
            }
        );
    }

    #[test]
    fn each_duration_is_judged_by_the_target_it_is_recorded_with() {
        let target = |limit_us| Target {
            limit_us,
            ..Target::default()
        };
        let mut sketch = Sketch::new();
        sketch.record(5_000, false, target(5_000));
        sketch.record(5_000, false, target(6_000));
        sketch.record_weighted(4_999, false, target(5_000), 2);
        assert_eq!(sketch.totals().within_target_count, 3);
    }

    #[test]
    fn an_empty_sketch_has_no_quantiles() {
        let sketch = Sketch::new();
        assert!(sketch.is_empty());
        assert_eq!(sketch.quantile_us(0.5), None);
        assert_eq!(sketch.bins().count(), 0);
        assert!(!sketch_of(&[0]).is_empty());
    }

    #[test]
    fn recording_with_weight_zero_changes_nothing() {
        let mut sketch = Sketch::new();
        sketch.record_weighted(5_000, true, Target::default(), 0);
        assert_eq!(sketch, Sketch::new());
    }

    #[test]
    fn sums_saturate_rather_than_panic() {
        let mut sketch = Sketch::new();
        for elapsed_us in [0, 1, u64::MAX] {
            sketch.record_weighted(elapsed_us, true, Target::default(), u64::MAX);
        }
        sketch.merge(&sketch.clone());
        assert_eq!(sketch.count(), u64::MAX);
        assert_eq!(sketch.totals().sum_us, u64::MAX);
        assert_eq!(sketch.totals().errors, u64::MAX);
        assert_eq!(sketch.quantile_us(0.0), Some(0.0));
        assert!(sketch.quantile_us(1.0).is_some());
    }

    // --- quantiles ---

    #[test]
    fn quantiles_between_two_values_use_the_lower_rank() {
        // Of four values, 0.5 falls between the second and the third.
        let sketch = sketch_of(&[10_000, 20_000, 30_000, 40_000]);
        for (q, exact_us) in [
            (0.0, 10_000),
            (0.33, 10_000),
            (0.34, 20_000),
            (0.5, 20_000),
            (0.67, 30_000),
            (0.99, 30_000),
            (1.0, 40_000),
            (-7.0, 10_000),
            (7.0, 40_000),
            (f64::NAN, 10_000),
            (f64::INFINITY, 40_000),
            (f64::NEG_INFINITY, 10_000),
        ] {
            let estimate_us = sketch.quantile_us(q).unwrap();
            assert!(within_alpha(estimate_us, exact_us), "{q}: {estimate_us}");
        }
    }

    #[test]
    fn no_quantile_is_above_the_maximum() {
        // Tests the lowest value of a bin, whose estimate would be 1 % too high without the limit by the maximum.
        let index = 1_000;
        let elapsed_us = whole(Sketch::GAMMA.powi(index - 1)) + 1;
        assert_eq!(Sketch::bin_index(elapsed_us), index);
        assert!(Sketch::bin_value_us(index) > 1.009 * float(elapsed_us));
        let estimate_us = sketch_of(&[elapsed_us]).quantile_us(1.0).unwrap();
        assert_eq!(estimate_us.to_bits(), float(elapsed_us).to_bits());
    }

    // --- invalid rows ---

    #[test]
    fn rows_out_of_range_count_in_the_nearest_bin() {
        let rows = [
            (i32::MIN, 1),
            (-2, 1),
            (i32::MAX, 5),
            (7, 0),
            (40, 2),
            (40, 3),
        ];
        let sketch = Sketch::from_bins(rows, SketchTotals::default());
        let bins: Vec<_> = sketch.bins().collect();
        assert_eq!(bins, [(-1, 2), (40, 5), (2218, 5)]);
        assert_eq!(sketch.count(), 12);
    }

    #[test]
    fn impossible_totals_are_clamped_to_possible_values() {
        let bin = (Sketch::bin_index(250_000), 10);
        let lost = Sketch::from_bins([bin], SketchTotals::default());
        assert!(within_alpha(lost.quantile_us(0.95).unwrap(), 250_000));
        assert!(float(lost.totals().max_us) >= Sketch::bin_value_us(bin.0));
        let absurd = SketchTotals {
            errors: 11,
            sum_us: 0,
            max_us: 250_000,
            within_target_count: u64::MAX,
        };
        let absurd = *Sketch::from_bins([bin], absurd).totals();
        assert_eq!((absurd.errors, absurd.within_target_count), (10, 10));
        assert_eq!(absurd.max_us, 250_000);
    }

    // --- properties ---

    /// Returns durations of every magnitude: small ones, for which rounding matters, and unrealistically long ones.
    fn any_us() -> impl Strategy<Value = u64> {
        prop_oneof![0..300_u64, 0..10_000_000_u64, any::<u64>()]
    }

    fn any_totals() -> impl Strategy<Value = SketchTotals> {
        (any::<u64>(), any::<u64>(), any_us(), any::<u64>()).prop_map(
            |(errors, sum_us, max_us, within_target_count)| SketchTotals {
                errors,
                sum_us,
                max_us,
                within_target_count,
            },
        )
    }

    /// Returns sketches of arbitrary rows, including invalid ones.
    fn any_sketch() -> impl Strategy<Value = Sketch> {
        let index = prop_oneof![-3..2_300_i32, any::<i32>()];
        let count = prop_oneof![0..1_000_u64, any::<u64>()];
        (vec((index, count), 0..30), any_totals())
            .prop_map(|(bins, totals)| Sketch::from_bins(bins, totals))
    }

    fn merged(one: &Sketch, other: &Sketch) -> Sketch {
        let mut both = one.clone();
        both.merge(other);
        both
    }

    proptest! {
        #[test]
        fn a_weighted_record_equals_repeated_records(runs in vec((any_us(), any::<bool>(), 0..5_u64), 0..200), limit_us in any_us()) {
            let target = Target { limit_us, ..Target::default() };
            let (mut weighted, mut repeated) = (Sketch::new(), Sketch::new());
            let mut runs_by_one = Vec::new();
            for (elapsed_us, failed, weight) in runs {
                weighted.record_weighted(elapsed_us, failed, target, weight);
                for _ in 0..weight {
                    repeated.record(elapsed_us, failed, target);
                    runs_by_one.push((elapsed_us, failed));
                }
            }
            prop_assert_eq!(&weighted, &repeated);

            let count = |of: &dyn Fn(u64, bool) -> bool| {
                let counted = runs_by_one.iter().filter(|&&(elapsed_us, failed)| of(elapsed_us, failed));
                u64::try_from(counted.count()).unwrap()
            };
            let sum_us: u128 = runs_by_one.iter().map(|&(elapsed_us, _)| u128::from(elapsed_us)).sum();
            prop_assert_eq!(weighted.count(), count(&|_, _| true));
            prop_assert_eq!(weighted.bins().map(|(_, count)| count).sum::<u64>(), weighted.count());
            prop_assert_eq!(*weighted.totals(), SketchTotals {
                errors: count(&|_, failed| failed),
                sum_us: u64::try_from(sum_us).unwrap_or(u64::MAX),
                max_us: runs_by_one.iter().map(|&(elapsed_us, _)| elapsed_us).max().unwrap_or(0),
                within_target_count: count(&|elapsed_us, _| elapsed_us < limit_us),
            });
        }

        #[test]
        fn every_quantile_is_within_alpha(mut values_us in vec(any_us(), 1..200), part in 0..=128_usize) {
            let sketch = sketch_of(&values_us);
            values_us.sort_unstable();
            // 128ths are exact as floats, so the rank doesn't depend on the last digit.
            let exact_us = values_us[(values_us.len() - 1) * part / 128];
            let q = float(u64::try_from(part).unwrap()) / 128.0;
            let estimate_us = sketch.quantile_us(q).unwrap();
            prop_assert!(within_alpha(estimate_us, exact_us), "{estimate_us}, not {exact_us}");
        }

        #[test]
        fn quantiles_are_monotonic_and_at_most_the_maximum(sketch in any_sketch(), q in 0.0..1.0, more in 0.0..0.5) {
            prop_assert_eq!(sketch.quantile_us(q).is_none(), sketch.is_empty());
            if let (Some(low_us), Some(high_us)) = (sketch.quantile_us(q), sketch.quantile_us(q + more)) {
                prop_assert!(0.0 <= low_us && low_us <= high_us);
                prop_assert!(high_us <= float(sketch.totals().max_us));
            }
        }

        #[test]
        fn merging_is_commutative_and_associative(a in any_sketch(), b in any_sketch(), c in any_sketch()) {
            prop_assert_eq!(merged(&a, &b), merged(&b, &a));
            prop_assert_eq!(merged(&merged(&a, &b), &c), merged(&a, &merged(&b, &c)));
            prop_assert_eq!(merged(&a, &Sketch::new()), a);
        }

        #[test]
        fn sketches_from_any_rows_are_consistent(a in any_sketch(), b in any_sketch()) {
            for sketch in [&a, &b, &merged(&a, &b)] {
                let in_range = |(index, count)| (-1..=2218).contains(&index) && count > 0;
                prop_assert!(sketch.bins().all(in_range));
                prop_assert!(sketch.totals().errors <= sketch.count());
                prop_assert!(sketch.totals().within_target_count <= sketch.count());
                prop_assert_eq!(&Sketch::from_bins(sketch.bins(), *sketch.totals()), sketch);
            }
        }
    }

    // --- accuracy over 100,000 values of five distributions ---

    const VALUES: usize = 100_000;
    const PARTS: usize = 1_000;

    fn seed() -> impl Strategy<Value = [u8; 32]> {
        any::<[u8; 32]>().no_shrink()
    }

    fn rng(seed: [u8; 32]) -> TestRng {
        TestRng::from_seed(RngAlgorithm::ChaCha, &seed)
    }

    /// Returns a sample in whole microseconds, as recorded, because the estimates refer to these values and not to the floats.
    fn sample(distribution: impl Distribution<f64>, rng: &mut TestRng) -> Vec<u64> {
        distribution
            .sample_iter(rng)
            .take(VALUES)
            .map(whole)
            .collect()
    }

    /// Compares p50, p95 and p99 with those of the sorted values, for two sketches: one of all values, and one that is merged from many
    /// sketches in random order. Each value is in a random one of these.
    fn keeps_the_promise(mut values_us: Vec<u64>, rng: &mut TestRng) -> Result<(), TestCaseError> {
        let one = sketch_of(&values_us);

        let mut parts = vec![Sketch::new(); PARTS];
        let part_of = Uniform::new(0, PARTS).unwrap();
        for &elapsed_us in &values_us {
            parts[part_of.sample(rng)].record(elapsed_us, false, Target::default());
        }
        let mut sum = Sketch::new();
        while !parts.is_empty() {
            let next = Uniform::new(0, parts.len()).unwrap().sample(rng);
            sum.merge(&parts.swap_remove(next));
        }

        values_us.sort_unstable();
        for sketch in [&one, &sum] {
            for (percent, q) in [(50, 0.50), (95, 0.95), (99, 0.99)] {
                let exact_us = values_us[(VALUES - 1) * percent / 100];
                let estimate_us = sketch.quantile_us(q).unwrap();
                prop_assert!(
                    within_alpha(estimate_us, exact_us),
                    "p{percent}: {estimate_us}, not {exact_us}"
                );
            }
        }
        prop_assert_eq!(one, sum);
        Ok(())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(6))]

        #[test]
        fn quantiles_of_uniform_durations_are_within_alpha(seed in seed(), low_us in 0.0..1e6, width_us in 1.0..1e7) {
            let mut rng = rng(seed);
            let values_us = sample(Uniform::new(low_us, low_us + width_us).unwrap(), &mut rng);
            keeps_the_promise(values_us, &mut rng)?;
        }

        #[test]
        fn quantiles_of_log_normal_durations_are_within_alpha(seed in seed(), ln_median_us in 2.0..14.0, sigma in 0.1..2.0) {
            let mut rng = rng(seed);
            let values_us = sample(LogNormal::new(ln_median_us, sigma).unwrap(), &mut rng);
            keeps_the_promise(values_us, &mut rng)?;
        }

        /// Tests durations with and without a cache that are far apart, so that the percentiles of the two modes are independent.
        #[test]
        fn quantiles_of_bimodal_durations_are_within_alpha(seed in seed(), ln_fast_us in 3.0..6.0, ln_slow_us in 9.0..15.0, slow_part in 0.01..0.6) {
            let mut rng = rng(seed);
            let (fast, slow) = (LogNormal::new(ln_fast_us, 0.3).unwrap(), LogNormal::new(ln_slow_us, 0.3).unwrap());
            let is_slow = Bernoulli::new(slow_part).unwrap();
            let values_us = (0..VALUES).map(|_| {
                let mode = if is_slow.sample(&mut rng) { slow } else { fast };
                whole(mode.sample(&mut rng))
            });
            let values_us = values_us.collect();
            keeps_the_promise(values_us, &mut rng)?;
        }

        #[test]
        fn quantiles_of_constant_durations_are_within_alpha(seed in seed(), elapsed_us in any_us()) {
            keeps_the_promise(vec![elapsed_us; VALUES], &mut rng(seed))?;
        }

        /// Includes distributions with a shape under 1, whose mean is infinite.
        #[test]
        fn quantiles_of_heavy_tailed_durations_are_within_alpha(seed in seed(), least_us in 1.0..10_000.0, shape in 0.5..3.0) {
            let mut rng = rng(seed);
            let values_us = sample(Pareto::new(least_us, shape).unwrap(), &mut rng);
            keeps_the_promise(values_us, &mut rng)?;
        }
    }
}
