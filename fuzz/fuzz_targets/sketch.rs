//! Fuzz target: the sketch of durations. Sketches of parts, merged in any order, must equal a single sketch of all durations. Counts must
//! be exact, and every percentile must be within the documented tolerance of the exact percentile.
//!
//! This target must compute the exact values from the durations themselves, never from a sketch, because it tests the sketch.
#![no_main]

use libfuzzer_sys::fuzz_target;
use reznet_edge::profile::{Sketch, Target};

/// The number of sketches among which the durations are divided, as if each belonged to another instance of the component.
const PARTS: usize = 8;

/// The maximum weight of a duration. The weight is small because the exact list repeats each duration as often as its weight.
const MAX_WEIGHT: u8 = 4;

/// The maximum relative error of a percentile: 1 %, plus rounding errors of floats. The README promises 1 %, so this target must not use the
/// sketch's own constant, which a change could make larger.
const TOLERANCE: f64 = 0.01 * (1.0 + 1e-9);

/// The tested quantiles are the multiples of 1/128. Floats represent these quantiles exactly, so rounding doesn't change a rank.
const QUANTILES: u32 = 128;

/// The input for one duration: 64 random bits, the number of bits to cut off, whether the run failed, the weight, and the part that records
/// the duration. Cutting off a random number of bits makes durations of every magnitude equally frequent.
type Run = (u64, u8, bool, u8, u8);

fuzz_target!(|runs: Vec<Run>| {
    let target = Target::default();
    let mut whole = Sketch::new();
    let mut parts = vec![Sketch::new(); PARTS];
    let (mut values_us, mut errors, mut sum_us) = (Vec::new(), 0_u64, 0_u128);
    for (bits, cut, failed, weight, part) in runs {
        let elapsed_us = bits >> (cut % 64);
        let weight = u64::from(weight % (MAX_WEIGHT + 1));
        whole.record_weighted(elapsed_us, failed, target, weight);
        parts[usize::from(part) % PARTS].record_weighted(elapsed_us, failed, target, weight);
        values_us.extend((0..weight).map(|_| elapsed_us));
        errors += if failed { weight } else { 0 };
        sum_us += u128::from(elapsed_us) * u128::from(weight);
    }
    values_us.sort_unstable();

    let mut merged = Sketch::new();
    parts.iter().for_each(|part| merged.merge(part));
    assert_eq!(merged, whole, "merged in order");
    let mut backwards = Sketch::new();
    // Converts each part to totals and bins and back, as instances do when they store and load a sketch.
    for part in parts.iter().rev() {
        backwards.merge(&Sketch::from_bins(part.bins(), *part.totals()));
    }
    assert_eq!(
        backwards, whole,
        "restored from totals and bins, merged in reverse order"
    );

    let count = |of: &dyn Fn(u64) -> bool| {
        u64::try_from(values_us.iter().filter(|&&us| of(us)).count())
            .expect("the count fits in u64")
    };
    assert_eq!(whole.count(), count(&|_| true));
    assert_eq!(
        whole.bins().map(|(_, count)| count).sum::<u64>(),
        whole.count()
    );
    let totals = whole.totals();
    assert_eq!(totals.errors, errors);
    assert_eq!(totals.sum_us, u64::try_from(sum_us).unwrap_or(u64::MAX));
    assert_eq!(totals.max_us, values_us.last().copied().unwrap_or(0));
    assert_eq!(
        totals.within_target_count,
        count(&|us| us < target.limit_us)
    );

    for part in 0..=QUANTILES {
        let estimate_us = merged.quantile_us(f64::from(part) / f64::from(QUANTILES));
        let Some(last) = values_us.len().checked_sub(1) else {
            assert_eq!(estimate_us, None);
            continue;
        };
        let exact_us = values_us[last * part as usize / QUANTILES as usize];
        let estimate_us = estimate_us.expect("there are durations");
        assert!(
            (estimate_us - exact_us as f64).abs() <= TOLERANCE * exact_us as f64,
            "quantile {part}/{QUANTILES}: the estimate is {estimate_us} us, the exact value {exact_us} us"
        );
    }
});
