//! Numbers (P4_16 §6.4.3.2): `31`, `0x1F`, `0b1_1111`, `8w31`.

use crate::ast::Number;

/// What is wrong with a number.
pub(super) struct Mistake {
    pub(super) message: String,
    pub(super) remedy: Option<String>,
}

fn mistake<T>(message: String, remedy: &str) -> Result<T, Mistake> {
    Err(Mistake { message, remedy: (!remedy.is_empty()).then(|| remedy.to_owned()) })
}

/// A number from its text: digits and letters that start with a digit.
pub(super) fn parse(text: &str) -> Result<Number, Mistake> {
    let behind = text.find(|c: char| !c.is_ascii_digit() && c != '_').unwrap_or(text.len());
    match text.as_bytes().get(behind) {
        Some(b's') => mistake(
            "signed numbers are outside of the subset".to_owned(),
            "write an unsigned number with `w`; bit<N> arithmetic wraps, so -1 is 8w0xFF",
        ),
        Some(b'w') => {
            let Some(value) = value(&text[behind + 1..])? else { return none(text) };
            match digits(&text[..behind], 10) {
                Digits::Value(width @ 1..=128) => {
                    if width < 128 && value >> width != 0 {
                        return mistake(format!("{value} does not fit {width} bits"), "");
                    }
                    Ok(Number { value, width: u8::try_from(width).ok() })
                }
                Digits::Value(width) => mistake(format!("a width of {width} bits"), "widths go from 1 to 128"),
                _ => none(text),
            }
        }
        _ => match value(text)? {
            Some(value) => Ok(Number { value, width: None }),
            None => none(text),
        },
    }
}

fn none<T>(text: &str) -> Result<T, Mistake> {
    mistake(format!("{text:?} is not a number"), "")
}

/// A value with its base.
fn value(text: &str) -> Result<Option<u128>, Mistake> {
    let (text, base) = match text.get(..2) {
        Some("0x" | "0X") => (&text[2..], 16),
        Some("0d" | "0D") => (&text[2..], 10),
        Some("0o" | "0O") => (&text[2..], 8),
        Some("0b" | "0B") => (&text[2..], 2),
        _ => (text, 10),
    };
    match digits(text, base) {
        Digits::Value(value) => Ok(Some(value)),
        Digits::TooLarge => mistake("a number of more than 128 bits".to_owned(), ""),
        Digits::None => Ok(None),
    }
}

enum Digits {
    Value(u128),
    TooLarge,
    None,
}

fn digits(text: &str, base: u32) -> Digits {
    let mut all = Some(0u128);
    let mut any = false;
    for character in text.chars().filter(|c| *c != '_') {
        let Some(digit) = character.to_digit(base) else { return Digits::None };
        all = all.and_then(|all| all.checked_mul(u128::from(base))?.checked_add(u128::from(digit)));
        any = true;
    }
    match all {
        _ if !any => Digits::None,
        Some(value) => Digits::Value(value),
        None => Digits::TooLarge,
    }
}
