//! Constants: folded as a direct evaluation would have it.

use gantry_p4c::ir::Program;
use num_bigint::BigInt;
use num_traits::ToPrimitive;
use proptest::prelude::*;

use crate::from_text::{accepted, in_control, lowered};

fn constants(declarations: &str) -> Program {
    accepted(&in_control(declarations, "", ""))
}

fn constant(program: &Program, name: &str) -> u128 {
    program.constants.iter().find(|it| it.name == name).unwrap_or_else(|| panic!("no constant {name}")).value
}

/// An expression of bits, and what it is worth at a width.
#[derive(Clone, Debug)]
enum Tree {
    Leaf(u128),
    Unary(&'static str, Box<Tree>),
    Binary(&'static str, Box<Tree>, Box<Tree>),
    Choice(Box<Tree>, Box<Tree>, Box<Tree>),
}

impl Tree {
    fn text(&self, bits: u8) -> String {
        match self {
            Self::Leaf(value) => format!("{bits}w{}", value & mask(bits)),
            Self::Unary(op, of) => format!("({op}{})", of.text(bits)),
            Self::Binary(op, left, right) => format!("({} {op} {})", left.text(bits), right.text(bits)),
            Self::Choice(a, b, c) => {
                format!("({} < {} ? {} : {})", a.text(bits), b.text(bits), c.text(bits), b.text(bits))
            }
        }
    }

    /// In numbers of any size, brought back to the width at every step.
    fn value(&self, bits: u8) -> BigInt {
        let modulus = BigInt::from(1) << bits;
        let whole = match self {
            Self::Leaf(value) => BigInt::from(value & mask(bits)),
            Self::Unary("~", of) => &modulus - 1 - of.value(bits),
            Self::Unary(_, of) => -of.value(bits),
            Self::Binary(op, left, right) => {
                let (l, r) = (left.value(bits), right.value(bits));
                let zero = BigInt::from(0);
                match *op {
                    "+" => l + r,
                    "-" => l - r,
                    "*" => l * r,
                    "&" => l & r,
                    "|" => l | r,
                    "^" => l ^ r,
                    "|+|" => (l + r).min(&modulus - 1),
                    "|-|" => (l - r).max(zero),
                    "<<" if r < BigInt::from(bits) => l << r.to_u8().unwrap(),
                    ">>" if r < BigInt::from(bits) => l >> r.to_u8().unwrap(),
                    "/" => l / r.max(BigInt::from(1)),
                    _ => zero,
                }
            }
            Self::Choice(a, b, c) => {
                if a.value(bits) < b.value(bits) {
                    c.value(bits)
                } else {
                    b.value(bits)
                }
            }
        };
        ((whole % &modulus) + &modulus) % &modulus
    }
}

fn mask(bits: u8) -> u128 {
    u128::MAX >> (128 - bits)
}

fn tree() -> impl Strategy<Value = Tree> {
    let leaf =
        prop_oneof![any::<u128>(), 0u128..4, Just(u128::MAX), (0u32..128).prop_map(|at| 1 << at)].prop_map(Tree::Leaf);
    leaf.prop_recursive(5, 40, 3, |inner| {
        let two = prop::sample::select(vec!["+", "-", "*", "&", "|", "^", "|+|", "|-|", "<<", ">>"]);
        prop_oneof![
            (prop::sample::select(vec!["~", "-"]), inner.clone()).prop_map(|(op, of)| Tree::Unary(op, Box::new(of))),
            (two, inner.clone(), inner.clone()).prop_map(|(op, l, r)| Tree::Binary(op, Box::new(l), Box::new(r))),
            (inner.clone(), inner.clone(), inner).prop_map(|(a, b, c)| Tree::Choice(
                Box::new(a),
                Box::new(b),
                Box::new(c)
            )),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn bits_fold_as_they_are_computed(trees in prop::collection::vec((tree(), 1u8..=128), 1..24)) {
        let text: String = trees.iter().enumerate()
            .map(|(place, (tree, bits))| format!("const bit<{bits}> K{place} = {};\n", tree.text(*bits)))
            .collect();
        let program = constants(&text);
        for (place, (tree, bits)) in trees.iter().enumerate() {
            let found = BigInt::from(constant(&program, &format!("K{place}")));
            prop_assert_eq!(found, tree.value(*bits), "{}", tree.text(*bits));
        }
    }

    #[test]
    fn numbers_without_a_width_have_as_many_bits_as_they_need(
        values in prop::collection::vec((any::<u128>(), any::<u128>(), 0u8..100), 1..16)
    ) {
        let text: String = values.iter().enumerate()
            .map(|(place, (a, b, by))| format!(
                "const bit<128> K{place} = (bit<128>)((({a} << {by}) - {b} * {a}) >> 3);\n"
            ))
            .collect();
        let program = constants(&text);
        for (place, (a, b, by)) in values.iter().enumerate() {
            let (a, b) = (BigInt::from(*a), BigInt::from(*b));
            let whole: BigInt = ((&a << *by) - b * &a) >> 3u8;
            let low = whole & BigInt::from(u128::MAX);
            prop_assert_eq!(BigInt::from(constant(&program, &format!("K{place}"))), low);
        }
    }

    #[test]
    fn no_text_of_operators_is_more_than_the_compiler_bears(
        parts in prop::collection::vec(
            (prop::sample::select(vec!["+", "-", "*", "/", "%", "<<", ">>", "++", "&&", "==", "<", "|+|"]),
             prop::sample::select(vec!["0", "1", "255", "8w3", "128w1", "true", "m", "error.NoError", "{1, 2}", "-1"])), 0..12)
    ) {
        let text: String = parts.iter().map(|(op, value)| format!(" {op} {value}")).collect();
        // Refused or not, but told.
        let _ = lowered(&in_control(&format!("const bit<8> K = 8w1{text};"), "", ""));
    }
}

#[test]
fn serializable_enums_and_bools_fold_too() {
    let program = constants(
        "enum bit<8> e_t { A = 1, B = 0x10 + 2 }
         const bit<8> FROM_ENUM = e_t.B;
         const e_t AN_ENUM = e_t.A;
         const bool COMPARED = 3 < 4 && e_t.A == e_t.A;
         const bit<16> JOINED = 8w1 ++ 8w2;
         const bit<4> CUT = 0xabc[7:4];
         const int WIDE = (1 << 130) / (1 << 120);
         const bit<32> FROM_WIDE = WIDE;",
    );
    let all: Vec<_> = program.constants.iter().map(|it| (it.name.as_str(), it.value)).collect();
    assert_eq!(
        all,
        [("FROM_ENUM", 0x12), ("AN_ENUM", 1), ("COMPARED", 1), ("JOINED", 0x102), ("CUT", 0xb), ("FROM_WIDE", 1024)]
    );
}

#[test]
fn numbers_do_not_grow_without_bound() {
    let wrong = |text: &str| crate::from_text::refused(&in_control(text, "", ""));
    assert_eq!(wrong("const int A = 1 << 255; const int B = A * A * A;"), ["a number of more than 512 bits"]);
    assert_eq!(wrong("const bit<8> A = -7 / 2;"), ["`/` is not defined for negative numbers"]);
    assert_eq!(wrong("const bit<8> A = 1 / 0;"), ["a division by zero"]);
    assert_eq!(wrong("const bit<8> A = 1 |+| 2;"), ["`|+|` needs a width to stop at"]);
}
