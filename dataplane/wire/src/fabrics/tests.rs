//! Layout by known offsets, both shapes of Connect's dword 0, and the rules of names.

use super::*;
use zerocopy::IntoBytes;

#[test]
fn a_command_is_told_by_its_type() {
    let mut set = PropertySet::new();
    set.ofst = 0x14.into();
    set.value = 0x0046_0001.into();
    set.cid = 0xbeef.into();
    let mut sqe: [u8; 64] = set.as_bytes().try_into().unwrap();
    assert_eq!(sqe[..5], [0x7f, 0, 0xef, 0xbe, 0]);
    assert_eq!((sqe[44], &sqe[48..52]), (0x14, &[1, 0, 0x46, 0][..]));
    let Some(Command::PropertySet(view)) = Command::parse(&sqe) else { panic!() };
    assert_eq!(view, &set);
    sqe[4] = 0x77;
    assert!(matches!(Command::parse(&sqe), Some(Command::Unknown(0x77))));
    sqe[0] = 0x06;
    assert!(Command::parse(&sqe).is_none());
}

#[test]
fn every_command_parses_as_itself() {
    fn round<T: Fabric + PartialEq + core::fmt::Debug>(command: T) -> [u8; 64] {
        let sqe: [u8; 64] = command.as_bytes().try_into().unwrap();
        assert_eq!((sqe[0], sqe[4]), (OPCODE, T::FCTYPE));
        sqe
    }
    assert!(matches!(Command::parse(&round(Connect::new())), Some(Command::Connect(_))));
    assert!(matches!(Command::parse(&round(PropertyGet::new())), Some(Command::PropertyGet(_))));
    assert!(matches!(Command::parse(&round(AuthSend::new())), Some(Command::AuthSend(_))));
    assert!(matches!(Command::parse(&round(AuthReceive::new())), Some(Command::AuthReceive(_))));
    assert!(matches!(Command::parse(&round(Disconnect::new())), Some(Command::Disconnect(_))));
}

#[test]
fn connect_answers_in_dword_0() {
    // What a Linux target says to a wrong subsystem and to a host that is not allowed.
    assert_eq!(ConnectInvalid::SUBNQN.dw0(), 0x0001_0100);
    assert_eq!(ConnectInvalid::HOSTNQN.dw0(), 0x0001_0200);
    assert_eq!(ConnectInvalid::QID.dw0(), 0x0000_002a);
    for invalid in [ConnectInvalid::QID, ConnectInvalid::CNTLID, ConnectInvalid::HOSTNQN] {
        assert_eq!(ConnectInvalid::from_dw0(invalid.dw0()), invalid);
    }
    let accepted = ConnectAccepted { authentication_required: true, ..ConnectAccepted::new(0x1234) };
    assert_eq!(accepted.dw0(), 0x0002_1234);
    assert_eq!(ConnectAccepted::from_dw0(accepted.dw0()), accepted);
}

#[test]
fn connect_data_names_both_ends() {
    let mut data = ConnectData::new([9; 16], CNTLID_DYNAMIC, "nqn.2026-11.org.example:disk", "nqn.2014-08.host");
    assert_eq!(data.as_bytes()[16..18], [0xff, 0xff]);
    assert_eq!(data.as_bytes()[256..260], *b"nqn.");
    assert_eq!(data.as_bytes()[512..516], *b"nqn.");
    assert_eq!((data.subnqn(), data.hostnqn()), (Ok("nqn.2026-11.org.example:disk"), Ok("nqn.2014-08.host")));
    data.subnqn.fill(b'x');
    assert_eq!(data.subnqn(), Err(InvalidNqn::TooLong));
    data.subnqn.fill(0);
    assert_eq!(data.subnqn(), Err(InvalidNqn::Empty));
    data.subnqn[0] = 0xff;
    assert_eq!(data.subnqn(), Err(InvalidNqn::Encoding));
    // The longest name ends at byte 222.
    data.subnqn[..223].fill(b'x');
    assert_eq!(data.subnqn().map(str::len), Ok(223));
    data.subnqn[223] = b'x';
    assert_eq!(data.subnqn(), Err(InvalidNqn::TooLong));
}

#[test]
fn names_keep_the_rules() {
    for good in [
        DISCOVERY_NQN,
        "nqn.2014-08.com.example:nvme:nvm-subsystem-sn-d78432",
        "nqn.2014-08.org.nvmexpress:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6",
        "nqn.2026-11.a:b",
    ] {
        assert_eq!(check_nqn(good), Ok(()), "{good}");
    }
    for (bad, error) in [
        ("", InvalidNqn::Empty),
        ("iqn.2014-08.com.example:x", InvalidNqn::Date),
        ("nqn.2014-13.com.example:x", InvalidNqn::Date),
        ("nqn.2014-00.com.example:x", InvalidNqn::Date),
        ("nqn.14-08.com.example:x", InvalidNqn::Date),
        ("nqn.2014-08", InvalidNqn::Date),
        ("nqn.2014-0é.x:y", InvalidNqn::Date),
        ("nqn.2014-08.com.example", InvalidNqn::Form),
        ("nqn.2014-08.com..example:x", InvalidNqn::Form),
        ("nqn.2014-08.com.example:", InvalidNqn::Form),
        ("nqn.2014-08.org.nvmexpress:uuid:f81d4fae", InvalidNqn::Uuid),
    ] {
        assert_eq!(check_nqn(bad), Err(error), "{bad}");
    }
    let prefix = "nqn.2026-11.a:";
    let name = [b'x'; 223];
    let mut long = [0; 224];
    long[..14].copy_from_slice(prefix.as_bytes());
    long[14..].copy_from_slice(&name[..210]);
    assert_eq!(check_nqn(core::str::from_utf8(&long[..223]).unwrap()), Ok(()));
    assert_eq!(check_nqn(core::str::from_utf8(&long).unwrap()), Err(InvalidNqn::TooLong));
}

#[test]
fn private_data_is_little_endian_and_checked() {
    let request = CmRequest::new(1, 0x80, 0x7f, 3);
    let bytes = request.as_bytes();
    assert_eq!((bytes.len(), &bytes[..10]), (32, &[0, 0, 1, 0, 0x80, 0, 0x7f, 0, 3, 0][..]));
    assert_eq!(CmRequest::parse(bytes), Ok(&request));
    assert_eq!(CmRequest::parse(&bytes[..31]).unwrap_err().sts(), reject::INVALID_PRIVATE_DATA_LENGTH);
    let mut other = request;
    other.recfmt = 1.into();
    assert_eq!(CmRequest::parse(other.as_bytes()).unwrap_err().sts(), reject::INVALID_RECFMT);
    assert_eq!(CmAccept::parse(CmAccept::new(32).as_bytes()).unwrap().crqsize.get(), 32);
    assert_eq!(CmReject::parse(&[0, 0, 6, 0, 0]).unwrap().sts.get(), reject::NO_RESOURCES);
    assert_eq!(CmReject::parse(&[0, 0, 6]), None);
}

#[test]
fn a_discovery_entry_reads_back() {
    let entry = DiscoveryEntry::rdma(
        SubsystemType::Nvm,
        1,
        32,
        AddressFamily::Ipv4,
        "10.9.0.1",
        "4420",
        "nqn.2026-11.org.example:disk",
    );
    let bytes = entry.as_bytes();
    assert_eq!(bytes[..12], [1, 1, 2, 0, 1, 0, 0xff, 0xff, 32, 0, 0, 0]);
    assert_eq!(bytes[768..771], [1, 4, 1]);
    assert_eq!((entry.traddr(), entry.trsvcid()), (Some("10.9.0.1"), Some("4420")));
    assert_eq!(entry.subnqn(), Ok("nqn.2026-11.org.example:disk"));
    let mut padded = entry;
    padded.traddr[8..].fill(b' ');
    assert_eq!(padded.traddr(), Some("10.9.0.1"));
    padded.traddr[0] = 0xff;
    assert_eq!(padded.traddr(), None);
    assert_eq!(DiscoveryHeader::new(7, 2).as_bytes()[..18], [7, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
}
