//! A PCI function's address, as Linux writes it.

use std::fmt;
use std::str::FromStr;

use super::Error;

/// Domain, bus, device and function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PciAddress {
    domain: u32,
    bus: u8,
    device: u8,
    function: u8,
}

impl fmt::Display for PciAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { domain, bus, device, function } = self;
        write!(f, "{domain:04x}:{bus:02x}:{device:02x}.{function}")
    }
}

/// `digits` in hexadecimal, nothing else, at most `most` of them.
fn hex(digits: &str, most: usize) -> Option<u32> {
    let all = (1..=most).contains(&digits.len()) && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    if all { u32::from_str_radix(digits, 16).ok() } else { None }
}

impl FromStr for PciAddress {
    type Err = Error;

    /// Reads "0000:01:00.0", or "01:00.0" in domain 0.
    fn from_str(text: &str) -> Result<Self, Error> {
        let read = || {
            let (bus, slot) = text.rsplit_once(':')?;
            let (domain, bus) = bus.split_once(':').unwrap_or(("0", bus));
            let (device, function) = slot.split_once('.')?;
            let address = Self {
                // Virtual domains (VMD, Hyper-V) have more than four digits.
                domain: hex(domain, 8)?,
                bus: hex(bus, 2)? as u8,
                device: hex(device, 2)? as u8,
                function: hex(function, 1)? as u8,
            };
            (address.device < 32 && address.function < 8).then_some(address)
        };
        read().ok_or_else(|| Error::Address(text.escape_default().to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_lspci_writes_them() {
        for (text, told) in [
            ("0000:01:00.0", "0000:01:00.0"),
            ("01:00.0", "0000:01:00.0"),
            ("10000:e1:1f.7", "10000:e1:1f.7"),
            ("0000:AF:00.0", "0000:af:00.0"),
        ] {
            assert_eq!(text.parse::<PciAddress>().unwrap().to_string(), told);
        }
    }

    #[test]
    fn what_is_no_address_is_refused_with_an_example() {
        for text in
            ["", "1", "0000:01:00", "0000:01:00.8", "0000:01:20.0", "0:0:0:0.0", "0000:0x1:00.0", "+1:00.0", "é:0.0"]
        {
            let refused = text.parse::<PciAddress>().unwrap_err().to_string();
            assert!(refused.ends_with("is no PCI address: write it as 0000:01:00.0"), "{refused}");
        }
    }
}
