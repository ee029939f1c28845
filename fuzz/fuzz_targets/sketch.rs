//! Fuzz target: the sketch of durations. In however many parts it's gathered, and in whatever order they're merged, the
//! outcome is that of one; counts are exact, and every percentile is within the promised part of the exact one.
//!
//! Must work out what's exact from the durations themselves, never from a sketch.
#![no_main]

use libfuzzer_sys::fuzz_target;
use reznet_edge::profile::{Sketch, TARGET_US};

/// How many instances gather.
const PARTS: usize = 8;

/// The most a duration may weigh: as many as it stands for are sorted.
const MAX_WEIGHT: u8 = 4;

/// 1 %, and what floats add to it. Written here, not taken from the sketch: it's what the README promises.
const TOLERANCE: f64 = 0.01 * (1.0 + 1e-9);

/// Ranks are multiples of this part, which is exact as a float, so that they're no matter of a last digit.
const QUANTILES: u32 = 128;

/// A duration: its bits, how many of them are cut off so that every magnitude comes up, whether it failed, its weight,
/// and in which part it's gathered.
type Run = (u64, u8, bool, u8, u8);

fuzz_target!(|runs: Vec<Run>| {
    let mut whole = Sketch::new();
    let mut parts = vec![Sketch::new(); PARTS];
    let (mut values_us, mut errors, mut sum_us) = (Vec::new(), 0_u64, 0_u128);
    for (bits, cut, failed, weight, part) in runs {
        let elapsed_us = bits >> (cut % 64);
        let weight = u64::from(weight % (MAX_WEIGHT + 1));
        whole.record_weighted(elapsed_us, failed, weight);
        parts[usize::from(part) % PARTS].record_weighted(elapsed_us, failed, weight);
        values_us.extend((0..weight).map(|_| elapsed_us));
        errors += if failed { weight } else { 0 };
        sum_us += u128::from(elapsed_us) * u128::from(weight);
    }
    values_us.sort_unstable();

    let mut merged = Sketch::new();
    parts.iter().for_each(|part| merged.merge(part));
    assert_eq!(merged, whole, "merged in order");
    let mut backwards = Sketch::new();
    // As instances and the database do it: each part is written down, and read again.
    for part in parts.iter().rev() {
        backwards.merge(&Sketch::from_bins(part.bins(), *part.totals()));
    }
    assert_eq!(backwards, whole, "written down, merged backwards");

    let count = |of: &dyn Fn(u64) -> bool| {
        u64::try_from(values_us.iter().filter(|&&us| of(us)).count()).expect("it fits")
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
    assert_eq!(totals.within_target_count, count(&|us| us < TARGET_US));

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
            "{part}/{QUANTILES}: {estimate_us}, not {exact_us}"
        );
    }
});
