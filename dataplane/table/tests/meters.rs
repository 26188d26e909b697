//! Meters against a plain count of tokens (RFC 2698 §3).

use gantry_table::{Color, MeterConfig, Meters, linear};
use proptest::prelude::*;

/// Rates whose units take a whole number of nanoseconds, so that both count exactly.
fn whole_rate() -> impl Strategy<Value = u64> {
    prop_oneof![Just(0_u64), Just(1_000_000_000), Just(500_000_000), Just(1_000_000), Just(8), Just(1)]
}

fn color() -> impl Strategy<Value = Color> {
    prop_oneof![3 => Just(Color::Green), 1 => Just(Color::Yellow), 1 => Just(Color::Red)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn colors_are_those_of_two_counts(
        cir in whole_rate(), pir in whole_rate(), cburst in 0..3000_u64, pburst in 0..5000_u64,
        start in prop_oneof![Just(0), Just(u64::MAX >> 13), any::<u64>().prop_map(|t| t >> 8)],
        packets in prop::collection::vec((0..4000_u64, prop_oneof![0..10_u64, 0..3000_u64, 0..4_000_000_000_u64], color()), 1..200),
    ) {
        let config = MeterConfig { cir, cburst, pir, pburst };
        let meters = Meters::new(2);
        assert!(meters.configure(1, Some(&config), start));
        prop_assert_eq!(meters.config(1), Some(config));
        let (mut reference, mut now) = (linear::Meter::new(config, start), start);
        for (units, gap, colored) in packets {
            now += gap;
            let color = meters.execute_aware(1, colored, units, now);
            prop_assert_eq!(color, reference.execute(colored, units, now));
            prop_assert_eq!(meters.execute_aware(0, colored, units, now), colored, "a meter without configuration");
        }
    }

    /// Other rates are rounded: the share of each colour is right to a thousandth.
    #[test]
    fn odd_rates_are_right_to_a_thousandth(cir in 1_000_000..50_000_000_000_u64, size in 64..9000_u64) {
        let pir = cir * 3 / 2;
        let config = MeterConfig { cir, cburst: 20_000, pir, pburst: 20_000 };
        let meters = Meters::new(1);
        meters.configure(0, Some(&config), 0);
        // Twice the committed rate is offered, to the nanosecond.
        let (packets, mut units) = (200_000_u64, [0_u64; 3]);
        let at = |n: u64| (u128::from(n) * u128::from(size) * 500_000_000 / u128::from(cir)) as u64;
        for n in 0..packets {
            units[meters.execute(0, size, at(n)) as usize] += size;
        }
        let passed = |rate: u64| (u128::from(at(packets)) * u128::from(rate) / 1_000_000_000) as u64 + 20_000;
        let near = |got: u64, want: u64| got.abs_diff(want) <= want / 1000 + size;
        let green = units[Color::Green as usize];
        prop_assert!(near(green, passed(cir)), "{green} green, {} wanted", passed(cir));
        let sum = green + units[Color::Yellow as usize];
        prop_assert!(near(sum, passed(pir)), "{sum} green and yellow, {} wanted", passed(pir));
    }
}

#[test]
fn a_meter_is_configured_and_not_any_more() {
    let meters = Meters::new(1);
    assert_eq!((meters.config(0), meters.execute(0, u64::MAX, 5)), (None, Color::Green));
    let config = MeterConfig { cir: 1, cburst: 10, pir: 1, pburst: 20 };
    for at_ns in [0, 1 << 60] {
        meters.configure(0, Some(&config), at_ns);
        let colors: Vec<_> = (0..3).map(|_| meters.execute(0, 10, at_ns)).collect();
        assert_eq!(colors, [Color::Green, Color::Yellow, Color::Red]);
        meters.configure(0, Some(&config), at_ns);
        assert_eq!(meters.execute(0, 10, at_ns), Color::Green, "buckets are full again");
        meters.configure(0, None, at_ns);
        assert_eq!((meters.config(0), meters.execute(0, 1 << 40, at_ns)), (None, Color::Green));
    }
    assert!(!meters.configure(1, None, 0));
}

/// Instants wrap after 52 days. A meter that slept through that is not shut.
#[test]
fn a_meter_that_slept_for_months_is_open() {
    const DAY: u64 = 86_400_000_000_000;
    let config = MeterConfig { cir: 1000, cburst: 500, pir: 1000, pburst: 500 };
    for days in [1, 13, 26, 27, 51, 52, 53, 79, 104, 400] {
        let meters = Meters::new(1);
        meters.configure(0, Some(&config), 7);
        assert_eq!(meters.execute(0, 500, 7), Color::Green);
        assert_eq!(meters.execute(0, 500, days * DAY), Color::Green, "after {days} days");
        assert_eq!(meters.execute(0, 500, days * DAY), Color::Red);
        assert_eq!(meters.execute(0, 500, days * DAY + 499_999_999), Color::Red);
        assert_eq!(meters.execute(0, 500, days * DAY + 500_000_000), Color::Green);
    }
}

/// An lcore whose clock is behind finds what the others have left, no more.
#[test]
fn clocks_may_differ() {
    let meters = Meters::new(1);
    let config = MeterConfig { cir: 1_000_000_000, cburst: 100, pir: 1_000_000_000, pburst: 100 };
    meters.configure(0, Some(&config), 0);
    assert_eq!(meters.execute(0, 100, 1000), Color::Green);
    assert_eq!(meters.execute(0, 1, 950), Color::Red);
    assert_eq!(meters.execute(0, 0, 950), Color::Green, "nothing fits into an empty bucket");
    assert_eq!(meters.execute(0, 50, 1050), Color::Green, "and was not paid back");
    assert_eq!(meters.execute(0, 1, 1050), Color::Red);
}
