//! Who a drive is: sixteen bytes from which serial number, NGUID, EUI64 and UUID follow.
//! NVMe Base 2.0 §4.5.1 (unique identifiers); UUID version 8: RFC 9562 §5.8.

/// A drive's identity.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Identity(pub [u8; 16]);

impl Identity {
    /// The identity that a name stands for.
    #[must_use]
    pub fn of_name(kind: &str, name: &str) -> Identity {
        Identity(digest(&[kind.as_bytes(), name.as_bytes()]))
    }

    /// 32 hexadecimal digits.
    #[must_use]
    pub fn to_hex(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Reads 32 hexadecimal digits.
    #[must_use]
    pub fn from_hex(text: &str) -> Option<Identity> {
        if text.len() != 32 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        u128::from_str_radix(text, 16).ok().map(|value| Identity(value.to_be_bytes()))
    }

    /// Serial number: 20 digits.
    #[must_use]
    pub fn serial(&self) -> String {
        self.to_hex()[..20].to_uppercase()
    }

    /// NGUID of a namespace, with the locally administered bit where its OUI would be.
    #[must_use]
    pub fn nguid(&self, nsid: u32) -> [u8; 16] {
        let mut id = digest(&[b"nguid", &self.0, &nsid.to_le_bytes()]);
        id[8] |= 0x02;
        id
    }

    /// EUI64 of a namespace, locally administered.
    #[must_use]
    pub fn eui64(&self, nsid: u32) -> [u8; 8] {
        let id = digest(&[b"eui64", &self.0, &nsid.to_le_bytes()]);
        let mut eui = [0; 8];
        eui.copy_from_slice(&id[..8]);
        eui[0] |= 0x02;
        eui
    }

    /// UUID of a namespace, or of the drive itself with NSID 0; version 8.
    #[must_use]
    pub fn uuid(&self, nsid: u32) -> [u8; 16] {
        let mut id = digest(&[b"uuid", &self.0, &nsid.to_le_bytes()]);
        id[6] = id[6] & 0x0f | 0x80;
        id[8] = id[8] & 0x3f | 0x80;
        id
    }

    /// NQN of the drive's subsystem, from its UUID.
    #[must_use]
    pub fn nqn(&self) -> String {
        let hex = Identity(self.uuid(0)).to_hex();
        let parts = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]];
        format!("nqn.2014-08.org.nvmexpress:uuid:{}", parts.join("-"))
    }
}

/// FNV-1a, 128 bits, over length-prefixed parts: stable for ever, spreads names; no secret hangs on it.
fn digest(parts: &[&[u8]]) -> [u8; 16] {
    const PRIME: u128 = 0x0100_0000_0000_0000_0000_013b;
    let mut hash: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    for part in parts {
        for byte in (part.len() as u64).to_le_bytes().iter().chain(part.iter()) {
            hash = (hash ^ u128::from(*byte)).wrapping_mul(PRIME);
        }
    }
    // The last bytes of the input reach only the low bits so far.
    hash ^= hash >> 67;
    hash = hash.wrapping_mul(PRIME << 1 | 1);
    (hash ^ hash >> 59).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities_are_stable_and_tell_apart() {
        let one = Identity::of_name("mem", "d0");
        assert_eq!(one, Identity::of_name("mem", "d0"));
        assert_ne!(one, Identity::of_name("mem", "d1"));
        assert_ne!(Identity::of_name("a", "bc"), Identity::of_name("ab", "c"));
        assert_ne!(one.nguid(1), one.nguid(2));
        assert_ne!(one.eui64(1), one.eui64(2));
        assert_eq!(one.serial().len(), 20);
        assert_eq!(Identity::from_hex(&one.to_hex()), Some(one));
        assert_eq!((one.nguid(1)[8] & 2, one.eui64(1)[0] & 2, one.uuid(1)[6] >> 4), (2, 2, 8));
        assert_eq!(one.nqn().len(), 32 + 36);
    }

    #[test]
    fn damaged_text_is_no_identity() {
        for text in ["", "00", "zz000000000000000000000000000000", "+0000000000000000000000000000000"] {
            assert_eq!(Identity::from_hex(text), None);
        }
    }

    /// What hosts have seen must not change with a new release.
    #[test]
    fn the_digest_is_pinned() {
        assert_eq!(Identity::of_name("mem", "d0").to_hex(), "e58229007cc0fb82d8d75696692843a1");
    }
}
