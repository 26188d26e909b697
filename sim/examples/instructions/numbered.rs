//! Functions that poll an lcore, each of a name of its own, so that callgrind tells every poll apart in one file: its own way, a
//! file for each return from a function, takes longer than all the polls.

use std::hint::black_box;

use gantry_sim::world::Poll;

/// How many there are.
pub(crate) const COUNT: usize = 16 * 16 * 16;

/// The polling function of a number.
pub(crate) fn poll(number: usize) -> Poll {
    POLLS[number / 256][number / 16 % 16][number % 16]
}

/// The number in the name that callgrind has for a function; none when it is another.
pub(crate) fn number(function: &str) -> Option<usize> {
    let (_, path) = function.split_once("numbered::x")?;
    let mut digits = path.split("::");
    let first = usize::from_str_radix(digits.next()?, 16).ok()?;
    let digit = |text: &str| usize::from_str_radix(text.strip_prefix('x')?, 16).ok();
    let (second, third) = (digit(digits.next()?)?, digit(digits.next()?)?);
    (digits.next()? == "poll").then_some((first * 16 + second) * 16 + third)
}

/// Sixteen modules and the list of what is in them, one inside the other: `x0::xf::x7::poll` is number 247.
macro_rules! digits {
    ($inner:ident $kind:ty) => {
        digits!($inner $kind; x0 x1 x2 x3 x4 x5 x6 x7 x8 x9 xa xb xc xd xe xf);
    };
    ($inner:ident $kind:ty; $($digit:ident)*) => {
        $(pub(crate) mod $digit {
            use super::*;
            $inner!();
        })*
        pub(crate) const POLLS: [$kind; 16] = [$($digit::POLLS),*];
    };
}

macro_rules! one {
    () => {
        #[inline(never)]
        fn poll(lcore: &mut gantry_sim::world::Lcore, now_ns: u64) -> bool {
            // Functions that differ in nothing would become one.
            black_box(module_path!());
            black_box(lcore.poll(now_ns))
        }
        pub(crate) const POLLS: Poll = poll;
    };
}

macro_rules! sixteen {
    () => {
        digits!(one Poll);
    };
}

macro_rules! two_hundred_and_fifty_six {
    () => {
        digits!(sixteen [Poll; 16]);
    };
}

digits!(two_hundred_and_fifty_six [[Poll; 16]; 16]);
