//! NVMe qualified names: NVMe Base 2.0 §4.5.
//!
//! A name on the wire only needs to be readable ([`nqn_from_field`]): a host with an odd name is refused because no
//! list has it, not for its spelling. A name that an operator writes must keep the rules ([`check_nqn`]).

/// The well-known NQN of every discovery subsystem (NVMe-oF 1.1 §5.1).
pub const DISCOVERY_NQN: &str = "nqn.2014-08.org.nvmexpress.discovery";

/// Longest NQN in bytes, without its terminator.
pub const NQN_LEN_MAX: usize = 223;

/// Bytes of a field that holds an NQN.
pub const NQN_FIELD_LEN: usize = 256;

/// Why a name is no NQN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InvalidNqn {
    /// Empty.
    Empty,
    /// More than [`NQN_LEN_MAX`] bytes, or no terminator in the field.
    TooLong,
    /// Not UTF-8.
    Encoding,
    /// Does not begin with `nqn.yyyy-mm.`.
    Date,
    /// No `:` and text behind the reverse domain name, or the domain name is empty.
    Form,
    /// Begins with `nqn.2014-08.org.nvmexpress:uuid:` but no UUID follows.
    Uuid,
}

impl core::fmt::Display for InvalidNqn {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            InvalidNqn::Empty => "an NQN is not empty",
            InvalidNqn::TooLong => "an NQN has at most 223 bytes",
            InvalidNqn::Encoding => "an NQN is UTF-8",
            InvalidNqn::Date => "an NQN begins with nqn.yyyy-mm.",
            InvalidNqn::Form => "an NQN is nqn.yyyy-mm.<reversed domain>:<name>",
            InvalidNqn::Uuid => "behind nqn.2014-08.org.nvmexpress:uuid: comes a UUID",
        })
    }
}

impl core::error::Error for InvalidNqn {}

/// Checks a name against the rules: `nqn.yyyy-mm.` and a reversed domain name, then `:` and any text; or the UUID
/// form; or [`DISCOVERY_NQN`].
pub fn check_nqn(nqn: &str) -> Result<(), InvalidNqn> {
    if nqn.is_empty() {
        return Err(InvalidNqn::Empty);
    }
    if nqn.len() > NQN_LEN_MAX {
        return Err(InvalidNqn::TooLong);
    }
    if nqn == DISCOVERY_NQN {
        return Ok(());
    }
    if let Some(uuid) = nqn.strip_prefix("nqn.2014-08.org.nvmexpress:uuid:") {
        return if is_uuid(uuid) { Ok(()) } else { Err(InvalidNqn::Uuid) };
    }
    let rest = nqn.strip_prefix("nqn.").and_then(after_date).ok_or(InvalidNqn::Date)?;
    match rest.split_once(':') {
        Some((domain, name)) if is_domain(domain) && !name.is_empty() && !name.contains('\0') => Ok(()),
        _ => Err(InvalidNqn::Form),
    }
}

/// Writes a name into its field, zeroes behind it; panics when it is longer than [`NQN_LEN_MAX`].
pub fn nqn_field(nqn: &str) -> [u8; NQN_FIELD_LEN] {
    assert!(nqn.len() <= NQN_LEN_MAX, "{} bytes are too many for an NQN", nqn.len());
    let mut field = [0; NQN_FIELD_LEN];
    field[..nqn.len()].copy_from_slice(nqn.as_bytes());
    field
}

/// Reads the name up to its terminator. Its form is not checked.
pub fn nqn_from_field(field: &[u8; NQN_FIELD_LEN]) -> Result<&str, InvalidNqn> {
    let length = field.iter().position(|&byte| byte == 0).ok_or(InvalidNqn::TooLong)?;
    match length {
        0 => Err(InvalidNqn::Empty),
        1..=NQN_LEN_MAX => core::str::from_utf8(&field[..length]).map_err(|_| InvalidNqn::Encoding),
        _ => Err(InvalidNqn::TooLong),
    }
}

fn after_date(text: &str) -> Option<&str> {
    let (date, rest) = text.split_at_checked(8)?;
    let date = date.as_bytes();
    let digits = [0, 1, 2, 3, 5, 6].iter().all(|&at| date[at].is_ascii_digit());
    let month = matches!(&date[5..7], b"10" | b"11" | b"12" | [b'0', b'1'..=b'9']);
    (digits && month && date[4] == b'-' && date[7] == b'.').then_some(rest)
}

fn is_domain(text: &str) -> bool {
    text.split('.')
        .all(|label| !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-'))
}

fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}
