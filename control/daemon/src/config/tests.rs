//! The words of every mistake, exactly.

use super::{Config, Listen, P4Runtime, parse};
use gantry_control::{Configuration, Drive, Hosts, Namespace, Port, Subsystem};

const GOOD: &str = r#"
[dataplane]
channel = "/run/gantry/channel"

[[port]]
name = "wire0"
device = "net_vhost0,iface=/run/vm.sock,client=1"
addresses = ["10.0.0.1/24", "fd00::1"]

[[drive]]
name = "d0"
uri = "mem:64M"

[[subsystem]]
nqn = "nqn.2026-11.io.gantry:a"
hosts = "any"
namespaces = [{ nsid = 1, drive = "d0", uuid = "00112233-4455-6677-8899-aabbccddeeff" }]
"#;

#[test]
fn a_good_file() {
    let uuid = [0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff];
    let desired = Configuration {
        epoch: 0,
        ports: vec![Port {
            name: "wire0".into(),
            device: "net_vhost0,iface=/run/vm.sock,client=1".into(),
            mtu: 1500,
            vlan: 0,
            addresses: vec!["10.0.0.1".parse().unwrap(), "fd00::1".parse().unwrap()],
        }],
        drives: vec![Drive { name: "d0".into(), uri: "mem:64M".into() }],
        subsystems: vec![Subsystem {
            nqn: "nqn.2026-11.io.gantry:a".into(),
            hosts: Hosts::Any,
            namespaces: vec![Namespace { nsid: 1, drive: "d0".into(), drive_nsid: None, uuid, read_only: false }],
        }],
    };
    let config = parse("gantry.toml", GOOD).unwrap();
    assert_eq!(config, Config { channel: "/run/gantry/channel".into(), desired, p4runtime: None });
}

#[test]
fn the_example_is_good() {
    let config = parse("gantry.toml", include_str!("../../../../deploy/gantry.toml")).unwrap();
    assert_eq!(config.desired.subsystems.len(), 2);
    assert_eq!((config.desired.ports[0].mtu, config.desired.ports[0].addresses.len()), (4200, 2));
}

#[test]
fn hosts_may_be_a_list_and_the_list_may_be_empty() {
    let hosts = |value: &str| {
        let text = GOOD.replace("hosts = \"any\"", &format!("hosts = {value}"));
        parse("gantry.toml", &text).unwrap().desired.subsystems.remove(0).hosts
    };
    assert_eq!(hosts("[]"), Hosts::Only(vec![]));
    let nqn = "nqn.2014-08.org.nvmexpress:uuid:5e1d2f84-1f6a-4d1e-9b57-2f0f5b2f7a10";
    assert_eq!(hosts(&format!("[\"{nqn}\"]")), Hosts::Only(vec![nqn.into()]));
}

/// What is said of the good file with `from` replaced by `to`.
fn complaint(from: &str, to: &str) -> String {
    assert!(GOOD.contains(from), "{from}");
    parse("gantry.toml", &GOOD.replacen(from, to, 1)).unwrap_err().to_string()
}

#[test]
fn unknown_keys_and_tables() {
    assert_eq!(
        complaint("hosts =", "hsots ="),
        "gantry.toml:14: [[subsystem]] has no `hosts`
    14 | [[subsystem]]
    remedy: write `hosts = [\"NQN of a host\", ...]` (a host's is in its /etc/nvme/hostnqn), or `hosts = \"any\"` for everybody
gantry.toml:16: unknown key `hsots` in [[subsystem]]
    16 | hsots = \"any\"
    remedy: did you mean `hosts`?"
    );
    assert_eq!(
        complaint("[[drive]]", "[[drives]]"),
        "gantry.toml:10: unknown key `drives` in the file
    10 | [[drives]]
    remedy: did you mean `drive`?
gantry.toml:17: no [[drive]] is named `d0`
    17 | namespaces = [{ nsid = 1, drive = \"d0\", uuid = \"00112233-4455-6677-8899-aabbccddeeff\" }]
    remedy: add a [[drive]] with `name = \"d0\"`"
    );
    assert_eq!(
        complaint("uri =", "serial = 4\nuri ="),
        "gantry.toml:12: unknown key `serial` in [[drive]]
    12 | serial = 4
    remedy: the keys here are `name`, `uri`"
    );
}

#[test]
fn the_data_planes_socket() {
    assert_eq!(
        complaint("[dataplane]\nchannel = \"/run/gantry/channel\"\n", ""),
        "gantry.toml:1: there is no [dataplane]
    remedy: write `[dataplane]` and under it `channel = \"/run/gantry/channel\"`"
    );
    assert_eq!(
        complaint("channel = \"/run/gantry/channel\"", "channel = 4420"),
        "gantry.toml:3: `channel` is text in quotes, not an integer
    3 | channel = 4420
    remedy: write `channel = \"/run/gantry/channel\"`"
    );
    let long = format!("channel = \"/{}\"", "x".repeat(107));
    assert!(complaint("channel = \"/run/gantry/channel\"", &long).contains("has 1 to 107 bytes, this one has 108"));
}

#[test]
fn ports() {
    assert_eq!(
        complaint("\"fd00::1\"", "\"10.0.0.300\""),
        "gantry.toml:8: `10.0.0.300` is no IPv4 or IPv6 address of a machine
    8 | addresses = [\"10.0.0.1/24\", \"10.0.0.300\"]
    remedy: write `192.0.2.1`, `192.0.2.1/24` or `2001:db8::1/64`"
    );
    for bad in ["10.0.0.1/33", "fd00::1/129", "0.0.0.0", "224.0.0.1", "127.0.0.1", "255.255.255.255", "::", "10.0.0.1/"]
    {
        assert!(complaint("fd00::1", bad).contains("is no IPv4 or IPv6 address of a machine"), "{bad}");
    }
    assert_eq!(
        complaint("fd00::1", "10.0.0.1"),
        "gantry.toml:8: the address 10.0.0.1 is there twice
    8 | addresses = [\"10.0.0.1/24\", \"10.0.0.1\"]
    remedy: remove one of them"
    );
    assert_eq!(
        complaint("[\"10.0.0.1/24\", \"fd00::1\"]", "[]"),
        "gantry.toml:8: a port without an address serves nobody
    8 | addresses = []
    remedy: write `addresses = [\"192.0.2.1/24\"]`: what hosts connect to"
    );
    assert_eq!(
        complaint("[[drive]]", "vlan = 4095\nmtu = \"big\"\n[[drive]]"),
        "gantry.toml:10: `vlan` is not a number from 0 to 4094
    10 | vlan = 4095
    remedy: write `vlan = 0`, say
gantry.toml:11: `mtu` is not a number from 576 to 9216
    11 | mtu = \"big\"
    remedy: write `mtu = 576`, say"
    );
    let second = "[[port]]\nname = \"wire0\"\ndevice = \"x\"\naddresses = [\"10.0.0.2\"]\n[[drive]]";
    assert_eq!(
        complaint("[[drive]]", second),
        "gantry.toml:11: there are two [[port]] named `wire0`
    11 | name = \"wire0\"
    remedy: rename one of them"
    );
}

#[test]
fn drives() {
    assert_eq!(
        complaint("mem:64M", "men:64M"),
        "gantry.toml:12: `men:64M` is no drive: nobody knows `men:`
    12 | uri = \"men:64M\"
    remedy: did you mean `mem:`?
gantry.toml:17: no [[drive]] is named `d0`
    17 | namespaces = [{ nsid = 1, drive = \"d0\", uuid = \"00112233-4455-6677-8899-aabbccddeeff\" }]
    remedy: add a [[drive]] with `name = \"d0\"`"
    );
    assert!(complaint("mem:64M", "file:drive").starts_with(
        "gantry.toml:12: `file:drive` names no absolute path
    12 | uri = \"file:drive\"
    remedy: write `uri = \"file:/path\"`: the data plane has its own directory"
    ));
    assert!(complaint("mem:64M", "mem:").starts_with("gantry.toml:12: `mem:` does not say which"));
    for wrong in ["pci:nvme0", "pci:0000:02:00", "pci:0000:02:20.0", "pci:+1:00.0", "pci:,sgl=off"] {
        let line = format!("gantry.toml:12: `{wrong}` names no PCI address");
        assert!(complaint("mem:64M", wrong).starts_with(&line), "{wrong}");
    }
    let twice = "pci:0000:0a:00.0,sgl=off\"\n[[drive]]\nname = \"d1\"\nuri = \"pci:0A:00.0";
    assert!(complaint("mem:64M", twice).starts_with(
        "gantry.toml:15: `pci:0A:00.0` is the drive `d0` already
    15 | uri = \"pci:0A:00.0\"
    remedy: leave one of them out: a drive is opened once"
    ));
    assert!(complaint("name = \"d0\"", "name = \"\"").contains("a name has 1 to 32 bytes and no control characters"));
    let many: String = (0..256).map(|n| format!("[[drive]]\nname = \"m{n}\"\nuri = \"mem:1M\"\n")).collect();
    assert!(complaint("[[drive]]\n", &format!("{many}[[drive]]\n")).contains("more than 256 of [[drive]]"));
    assert!(complaint("name = \"d0\"\n", "").starts_with(
        "gantry.toml:10: [[drive]] has no `name`
    10 | [[drive]]
    remedy: write `name = \"...\"`: any word you like to find it by"
    ));
}

#[test]
fn subsystems() {
    assert_eq!(
        complaint("nqn.2026-11.io.gantry:a", "iqn.2026-11.io.gantry:a"),
        "gantry.toml:15: `iqn.2026-11.io.gantry:a` is no NQN: an NQN begins with nqn.yyyy-mm.
    15 | nqn = \"iqn.2026-11.io.gantry:a\"
    remedy: write `nqn.2026-11.com.example:storage`, say, with your own domain name reversed"
    );
    let long = format!("nqn.2026-11.io.gantry:{}", "a".repeat(202));
    assert!(complaint("nqn.2026-11.io.gantry:a", &long).contains("an NQN has at most 223 bytes"));
    assert_eq!(
        complaint("nqn.2026-11.io.gantry:a", "nqn.2014-08.org.nvmexpress.discovery"),
        "gantry.toml:15: `nqn.2014-08.org.nvmexpress.discovery` is the discovery subsystem, which is always there
    15 | nqn = \"nqn.2014-08.org.nvmexpress.discovery\"
    remedy: give the subsystem a name of its own"
    );
    let twin = "[[subsystem]]\nnqn = \"nqn.2026-11.io.gantry:a\"\nhosts = []\nnamespaces = []\n\n[[subsystem]]";
    assert_eq!(
        complaint("[[subsystem]]", twin),
        "gantry.toml:20: there are two [[subsystem]] with the NQN `nqn.2026-11.io.gantry:a`
    20 | nqn = \"nqn.2026-11.io.gantry:a\"
    remedy: rename one of them"
    );
    assert_eq!(
        complaint("\"any\"", "\"all\""),
        "gantry.toml:16: `hosts` is a list, not text
    16 | hosts = \"all\"
    remedy: write `hosts = [\"NQN of a host\", ...]` (a host's is in its /etc/nvme/hostnqn), or `hosts = \"any\"` for everybody"
    );
    assert!(complaint("\"any\"", "[\"web1\"]").starts_with("gantry.toml:16: `web1` is no NQN: "));
    assert!(complaint("\"any\"", "[1]").starts_with("gantry.toml:16: a host's NQN is text in quotes, not an integer"));
}

#[test]
fn namespaces() {
    assert_eq!(
        complaint("drive = \"d0\"", "drive = \"d1\""),
        "gantry.toml:17: no [[drive]] is named `d1`
    17 | namespaces = [{ nsid = 1, drive = \"d1\", uuid = \"00112233-4455-6677-8899-aabbccddeeff\" }]
    remedy: did you mean `d0`?"
    );
    assert_eq!(
        complaint(", uuid = \"00112233-4455-6677-8899-aabbccddeeff\"", ""),
        "gantry.toml:17: the namespace has no `uuid`
    17 | namespaces = [{ nsid = 1, drive = \"d0\" }]
    remedy: make one with `uuidgen`, write `uuid = \"...\"` and never change it: hosts know the namespace by it"
    );
    for bad in ["1234", "00000000-0000-0000-0000-000000000000"] {
        let text = complaint("00112233-4455-6677-8899-aabbccddeeff", bad);
        assert!(text.starts_with(&format!("gantry.toml:17: `{bad}` is no UUID\n")), "{text}");
    }
    for bad in ["0", "4294967295", "-1", "\"1\""] {
        let text = complaint("nsid = 1", &format!("nsid = {bad}"));
        assert!(text.starts_with("gantry.toml:17: `nsid` is not a number from 1 to 4294967293\n"), "{text}");
    }
    let two = "[{ nsid = 1, drive = \"d0\", uuid = \"10112233-4455-6677-8899-aabbccddeeff\" }, { nsid = 1,";
    assert!(complaint("[{ nsid = 1,", two).starts_with("gantry.toml:17: the subsystem has two namespaces 1\n"));
    let drive = "[[drive]]\nname = \"d1\"\nuri = \"mem:1M\"\n[[subsystem]]\nnqn = \"nqn.2026-11.io.gantry:b\"\nhosts = []\n\
                 namespaces = [{ nsid = 1, drive = \"d1\", uuid = \"00112233-4455-6677-8899-aabbccddeeff\" }]\n[[subsystem]]";
    let text = complaint("[[subsystem]]", drive);
    assert!(text.starts_with("gantry.toml:24: drive `d1` has a namespace with this UUID already\n"), "{text}");
    assert!(
        complaint("[{ nsid = 1,", "[7, { nsid = 1,").starts_with("gantry.toml:17: an integer where a table belongs\n")
    );
    let text = complaint("nsid = 1,", "read_only = 1, nsid = 1,");
    assert!(text.starts_with("gantry.toml:17: `read_only` is true or false, not an integer\n"), "{text}");
    let text = GOOD.replace("nsid = 1,", "nsid = 1, read_only = true,");
    assert!(parse("gantry.toml", &text).unwrap().desired.subsystems[0].namespaces[0].read_only);
    assert!(complaint("nsid = 1, ", "").starts_with("gantry.toml:17: the namespace has no `nsid`\n"));
    let text = complaint("nsid = 1,", "nsid = 1, drive_nsid = 0,");
    assert!(text.starts_with("gantry.toml:17: `drive_nsid` is not a number from 1 to 4294967293\n"), "{text}");
    let text = GOOD.replace("nsid = 1,", "nsid = 1, drive_nsid = 3,");
    assert_eq!(parse("gantry.toml", &text).unwrap().desired.subsystems[0].namespaces[0].drive_nsid, Some(3));
    let twin =
        "[{ nsid = 2, drive = \"d0\", drive_nsid = 2, uuid = \"00112233-4455-6677-8899-aabbccddeeff\" }, { nsid = 1,";
    let text = complaint("[{ nsid = 1,", twin);
    assert!(text.starts_with("gantry.toml:17: drive `d0` has a namespace with this UUID already\n"), "{text}");
}

#[test]
fn what_is_no_toml() {
    let text = complaint("hosts = \"any\"", "hosts = any");
    assert!(text.starts_with("gantry.toml:16: not TOML: "), "{text}");
    let text = complaint("hosts = \"any\"", "hosts = \"any\"\nhosts = \"any\"");
    assert!(text.starts_with("gantry.toml:17: not TOML: duplicate key"), "{text}");
    assert!(parse("gantry.toml", "").unwrap_err().to_string().starts_with("gantry.toml:1: there is no [dataplane]"));
}

#[test]
fn p4runtime() {
    let with = |text: &str| parse("gantry.toml", &format!("{GOOD}{text}"));
    assert_eq!(with("").unwrap().p4runtime, None, "it is off when nothing is said");
    let served = |text: &str| with(&format!("[p4runtime]\n{text}")).unwrap().p4runtime.unwrap();
    let tcp = |address: &str| Listen::Tcp(address.parse().unwrap());
    assert_eq!(served("listen = \"127.0.0.1:9559\""), P4Runtime { listen: tcp("127.0.0.1:9559"), device_id: 1 });
    let unix = P4Runtime { listen: Listen::Unix("/run/p4".into()), device_id: 7 };
    assert_eq!(served("listen = \"/run/p4\"\ndevice_id = 7"), unix);
    assert_eq!(served("listen = \"[::1]:1\"").listen, tcp("[::1]:1"));
    let outside = served("listen = \"0.0.0.0:9559\"\nwithout_authentication = true");
    assert_eq!(outside.listen, tcp("0.0.0.0:9559"));
    let complaint = |text: &str| with(&format!("[p4runtime]\n{text}")).unwrap_err().to_string();
    let text = complaint("listen = \"192.0.2.1:9559\"");
    assert!(text.contains("P4Runtime has neither TLS nor authentication, and 192.0.2.1:9559 can be reached"), "{text}");
    assert!(text.contains("without_authentication = true"), "{text}");
    assert!(complaint("listen = \"localhost\"").contains("`localhost` is neither an address with a port nor"));
    assert!(complaint("device_id = 0\nlisten = \"/p\"").contains("`device_id` is not a number from 1"));
    assert!(complaint("").contains("[p4runtime] has no `listen`"));
    assert!(complaint("listen = 9559").contains("`listen` is text in quotes, not an integer"));
    assert!(complaint("listen = \"/p\"\ntls = true").contains("unknown key `tls` in [p4runtime]"));
    assert!(complaint(&format!("listen = \"/{}\"", "p".repeat(107))).contains("a socket's path has at most 107 bytes"));
}
