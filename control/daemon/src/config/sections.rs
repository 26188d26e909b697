//! What each section must say, and the rules that hold between them.

use super::document::{At, Section, article, nearest, section};
use super::problem::Found;
use super::{Config, Listen, P4Runtime};
use gantry_control::{Configuration, Drive, Hosts, Namespace, Port, Subsystem, parse_uuid};
use gantry_wire::fabrics::{DISCOVERY_NQN, check_nqn};
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::path::PathBuf;

/// Largest IP packet when a port does not say.
const MTU_DEFAULT: u64 = 1500;
/// Bytes of a Unix socket's path (unix(7): 108 with the terminating NUL).
const SOCKET_PATH_MAX: usize = 107;
/// Bytes of a name on the channel.
const NAME_MAX: usize = 32;
/// Bytes of a device string or URI.
const STRING_MAX: usize = 4096;
/// Ports, drives and subsystems that one data plane takes.
const PORTS_MAX: usize = 64;
const DRIVES_MAX: usize = 256;
const SUBSYSTEMS_MAX: usize = 4096;
/// Drive URIs that the data plane knows.
const SCHEMES: [&str; 4] = ["file", "mem", "pci", "vfio-user"];

const NQN_REMEDY: &str = "write `nqn.2026-11.com.example:storage`, say, with your own domain name reversed";
const UUID_REMEDY: &str = "make one with `uuidgen`, write `uuid = \"...\"` and never change it: hosts know the \
                           namespace by it";
const HOSTS_REMEDY: &str = "write `hosts = [\"NQN of a host\", ...]` (a host's is in its /etc/nvme/hostnqn), or `hosts = \
                            \"any\"` for everybody";
const NAMESPACES_REMEDY: &str = "write `namespaces = [{ nsid = 1, drive = \"NAME\", uuid = \"...\" }]`";

const LISTEN_REMEDY: &str =
    "write `listen = \"127.0.0.1:9559\"`, or `listen = \"/run/gantry/p4runtime\"` for a Unix socket";

pub(super) fn read(root: &Section<'_>, found: &mut Found) -> Option<Config> {
    root.only(&["dataplane", "port", "drive", "subsystem", "p4runtime"], found);
    let channel = dataplane(root, found);
    let (mut ports, mut drives, mut subsystems) = (Vec::new(), Vec::new(), Vec::new());
    for table in sections(root, "port", "[[port]]", PORTS_MAX, found) {
        ports.extend(port(&table, &ports, found));
    }
    for table in sections(root, "drive", "[[drive]]", DRIVES_MAX, found) {
        drives.extend(drive(&table, &drives, found));
    }
    for table in sections(root, "subsystem", "[[subsystem]]", SUBSYSTEMS_MAX, found) {
        subsystems.extend(subsystem(&table, &drives, &subsystems, found));
    }
    let p4runtime = root.table_if_any("p4runtime", "[p4runtime]", found).and_then(|table| p4runtime(&table, found));
    Some(Config { channel: channel?, desired: Configuration { epoch: 0, ports, drives, subsystems }, p4runtime })
}

fn sections<'a>(root: &Section<'a>, key: &str, what: &'static str, most: usize, found: &mut Found) -> Vec<Section<'a>> {
    let sections = root.tables(key, what, found);
    if let Some(excess) = sections.get(most) {
        found.add(excess.span.clone(), format!("more than {most} of {what}"), "serve fewer from one card");
    }
    sections
}

fn dataplane(root: &Section<'_>, found: &mut Found) -> Option<PathBuf> {
    let remedy = "write `[dataplane]` and under it `channel = \"/run/gantry/channel\"`";
    let table = root.table("dataplane", "[dataplane]", remedy, found)?;
    table.only(&["channel"], found);
    let channel = table.text("channel", "write `channel = \"/run/gantry/channel\"`", found)?;
    if !(1..=SOCKET_PATH_MAX).contains(&channel.value.len()) {
        let message = format!("a socket's path has 1 to {SOCKET_PATH_MAX} bytes, this one has {}", channel.value.len());
        found.add(channel.span, message, "give the data plane's --channel a shorter path, and write it here");
        return None;
    }
    Some(channel.value.into())
}

/// Where P4Runtime is served. It has neither TLS nor authentication: whoever reaches it programs the card.
fn p4runtime(table: &Section<'_>, found: &mut Found) -> Option<P4Runtime> {
    table.only(&["listen", "device_id", "without_authentication"], found);
    let device_id = table.integer("device_id", 1..=i64::MAX as u64, found).map_or(1, |id| id.value);
    let insists = table.flag("without_authentication", found);
    let At { value, span } = table.text("listen", LISTEN_REMEDY, found)?;
    let listen = if value.starts_with('/') {
        if value.len() > SOCKET_PATH_MAX {
            let message = format!("a socket's path has at most {SOCKET_PATH_MAX} bytes, this one has {}", value.len());
            found.add(span, message, "choose a shorter path");
            return None;
        }
        Listen::Unix(value.into())
    } else {
        let Ok(address) = value.parse::<SocketAddr>() else {
            let message = format!("`{value}` is neither an address with a port nor the absolute path of a socket");
            found.add(span, message, LISTEN_REMEDY);
            return None;
        };
        if !address.ip().is_loopback() && !insists {
            let message =
                format!("P4Runtime has neither TLS nor authentication, and {address} can be reached from outside");
            let remedy = "write `listen = \"127.0.0.1:9559\"` or the path of a Unix socket; or, in a network where everybody \
                          may program the card, add `without_authentication = true`";
            found.add(span, message, remedy);
            return None;
        }
        Listen::Tcp(address)
    };
    Some(P4Runtime { listen, device_id })
}

/// A name that no earlier section of its kind has.
fn name<'a>(table: &Section<'_>, mut taken: impl Iterator<Item = &'a str>, found: &mut Found) -> Option<String> {
    let At { value, span } = table.text("name", "write `name = \"...\"`: any word you like to find it by", found)?;
    if !(1..=NAME_MAX).contains(&value.len()) || value.chars().any(char::is_control) {
        let message = format!("a name has 1 to {NAME_MAX} bytes and no control characters");
        found.add(span, message, "choose a shorter word");
        return None;
    }
    if taken.any(|other| other == value) {
        found.add(span, format!("there are two {} named `{value}`", table.what), "rename one of them");
        return None;
    }
    Some(value)
}

fn port(table: &Section<'_>, before: &[Port], found: &mut Found) -> Option<Port> {
    table.only(&["name", "device", "addresses", "vlan", "mtu"], found);
    let name = name(table, before.iter().map(|port| port.name.as_str()), found);
    let remedy = "write `device = \"0000:01:00.0\"`, or any other DPDK device";
    let device = table.text("device", remedy, found).and_then(|device| bounded(device, "device", remedy, found));
    let vlan = table.integer("vlan", 0..=4094, found).map_or(0, |vlan| vlan.value as u16);
    let mtu = table.integer("mtu", 576..=9216, found).map_or(MTU_DEFAULT, |mtu| mtu.value) as u16;
    let addresses = addresses(table, vlan, before, found);
    Some(Port { name: name?, device: device?, mtu, vlan, addresses: addresses? })
}

fn bounded(text: At<String>, what: &str, remedy: &str, found: &mut Found) -> Option<String> {
    if (1..=STRING_MAX).contains(&text.value.len()) {
        return Some(text.value);
    }
    found.add(text.span, format!("`{what}` has 1 to {STRING_MAX} bytes"), remedy);
    None
}

fn addresses(table: &Section<'_>, vlan: u16, before: &[Port], found: &mut Found) -> Option<Vec<IpAddr>> {
    let remedy = "write `addresses = [\"192.0.2.1/24\"]`: what hosts connect to";
    let At { value: items, span } = table.list("addresses", remedy, found)?;
    if items.is_empty() {
        found.add(span, "a port without an address serves nobody", remedy);
        return None;
    }
    let mut addresses = Vec::new();
    for At { value, span } in items {
        let Some(text) = value.as_str() else {
            found.add(span, format!("an address is text in quotes, not {}", article(value)), remedy);
            continue;
        };
        let Some(address) = address(text) else {
            let message = format!("`{text}` is no IPv4 or IPv6 address of a machine");
            found.add(span, message, "write `192.0.2.1`, `192.0.2.1/24` or `2001:db8::1/64`");
            continue;
        };
        let elsewhere = before.iter().any(|port| port.vlan == vlan && port.addresses.contains(&address));
        if elsewhere || addresses.contains(&address) {
            found.add(span, format!("the address {address} is there twice"), "remove one of them");
            continue;
        }
        addresses.push(address);
    }
    Some(addresses)
}

/// An address that a machine can have, with or without a prefix length.
fn address(text: &str) -> Option<IpAddr> {
    let (address, prefix) = match text.split_once('/') {
        Some((address, prefix)) => (address, Some(prefix)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().ok()?;
    let longest = if address.is_ipv4() { 32 } else { 128 };
    let prefix_fits = prefix.is_none_or(|prefix| prefix.parse::<u8>().is_ok_and(|length| length <= longest));
    let broadcast = matches!(address, IpAddr::V4(v4) if v4.is_broadcast());
    let unusable = address.is_unspecified() || address.is_multicast() || address.is_loopback() || broadcast;
    (prefix_fits && !unusable).then_some(address)
}

fn drive(table: &Section<'_>, before: &[Drive], found: &mut Found) -> Option<Drive> {
    table.only(&["name", "uri"], found);
    let name = name(table, before.iter().map(|drive| drive.name.as_str()), found);
    let remedy = "write `uri = \"file:/path\"`, `uri = \"mem:1G\"` or `uri = \"pci:0000:02:00.0\"`";
    let uri = table.text("uri", remedy, found)?;
    let (scheme, rest) = uri.value.split_once(':').unwrap_or((&uri.value, ""));
    if !SCHEMES.contains(&scheme) {
        let remedy = match nearest(scheme, &SCHEMES) {
            Some(near) => format!("did you mean `{near}:`?"),
            None => remedy.into(),
        };
        found.add(uri.span, format!("`{}` is no drive: nobody knows `{scheme}:`", uri.value), remedy);
        return None;
    }
    if matches!(scheme, "file" | "vfio-user") && !rest.starts_with('/') {
        let message = format!("`{}` names no absolute path", uri.value);
        found.add(uri.span, message, format!("write `uri = \"{scheme}:/path\"`: the data plane has its own directory"));
        return None;
    }
    if rest.is_empty() {
        found.add(uri.span, format!("`{}` does not say which", uri.value), remedy);
        return None;
    }
    if scheme == "pci" {
        let Some(function) = pci_function(rest) else {
            let remedy = "write `uri = \"pci:0000:02:00.0\"`: `gantryctl drive list` shows the drives that are there";
            found.add(uri.span, format!("`{}` names no PCI address", uri.value), remedy);
            return None;
        };
        let same = |drive: &&Drive| drive.uri.strip_prefix("pci:").and_then(pci_function) == Some(function);
        if let Some(other) = before.iter().find(same) {
            let message = format!("`{}` is the drive `{}` already", uri.value, other.name);
            found.add(uri.span, message, "leave one of them out: a drive is opened once");
            return None;
        }
    }
    let uri = bounded(uri, "uri", remedy, found);
    Some(Drive { name: name?, uri: uri? })
}

/// Domain, bus, device and function in what stands behind `pci:`; the domain may be left out, and options may follow.
fn pci_function(rest: &str) -> Option<[u32; 4]> {
    let address = rest.split(',').next()?;
    let (bus, slot) = address.rsplit_once(':')?;
    let (domain, bus) = bus.split_once(':').unwrap_or(("0", bus));
    let (device, function) = slot.split_once('.')?;
    let hex = |digits: &str, last: u32| {
        let all = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        u32::from_str_radix(digits, 16).ok().filter(|&number| all && number <= last)
    };
    Some([hex(domain, u32::MAX)?, hex(bus, 0xFF)?, hex(device, 0x1F)?, hex(function, 7)?])
}

fn subsystem(table: &Section<'_>, drives: &[Drive], before: &[Subsystem], found: &mut Found) -> Option<Subsystem> {
    table.only(&["nqn", "hosts", "namespaces"], found);
    let nqn = table.text("nqn", NQN_REMEDY, found).and_then(|nqn| subsystem_nqn(nqn, before, found));
    let hosts = hosts(table, found);
    let items = table.list("namespaces", NAMESPACES_REMEDY, found);
    let mut namespaces = Vec::new();
    for At { value, span } in items.into_iter().flat_map(|items| items.value) {
        let item = section(value, span, "the namespace", NAMESPACES_REMEDY, found);
        namespaces.extend(item.and_then(|item| namespace(&item, drives, before, &namespaces, found)));
    }
    Some(Subsystem { nqn: nqn?, hosts: hosts?, namespaces })
}

fn subsystem_nqn(nqn: At<String>, before: &[Subsystem], found: &mut Found) -> Option<String> {
    let At { value, span } = nqn;
    if value == DISCOVERY_NQN {
        let message = format!("`{value}` is the discovery subsystem, which is always there");
        found.add(span, message, "give the subsystem a name of its own");
        return None;
    }
    if let Err(invalid) = check_nqn(&value) {
        found.add(span, format!("`{value}` is no NQN: {invalid}"), NQN_REMEDY);
        return None;
    }
    if before.iter().any(|subsystem| subsystem.nqn == value) {
        found.add(span, format!("there are two [[subsystem]] with the NQN `{value}`"), "rename one of them");
        return None;
    }
    Some(value)
}

fn hosts(table: &Section<'_>, found: &mut Found) -> Option<Hosts> {
    let mut trial = Found::default();
    if table.text("hosts", HOSTS_REMEDY, &mut trial).is_some_and(|text| text.value == "any") {
        return Some(Hosts::Any);
    }
    let items = table.list("hosts", HOSTS_REMEDY, found)?;
    let mut hosts = Vec::new();
    for At { value, span } in items.value {
        match value.as_str().map(|host| (host, check_nqn(host))) {
            Some((host, Ok(()))) => hosts.push(host.to_owned()),
            Some((host, Err(invalid))) => found.add(span, format!("`{host}` is no NQN: {invalid}"), HOSTS_REMEDY),
            None => found.add(span, format!("a host's NQN is text in quotes, not {}", article(value)), HOSTS_REMEDY),
        }
    }
    Some(Hosts::Only(hosts))
}

fn namespace(
    table: &Section<'_>,
    drives: &[Drive],
    others: &[Subsystem],
    before: &[Namespace],
    found: &mut Found,
) -> Option<Namespace> {
    table.only(&["nsid", "drive", "drive_nsid", "uuid", "read_only"], found);
    if !table.has("nsid") {
        found.add(table.span.clone(), "the namespace has no `nsid`", "write `nsid = 1`: the number hosts see");
    }
    let nsid = table.integer("nsid", 1..=0xffff_fffd, found);
    if let Some(nsid) = nsid.as_ref().filter(|nsid| before.iter().any(|other| u64::from(other.nsid) == nsid.value)) {
        let message = format!("the subsystem has two namespaces {}", nsid.value);
        found.add(nsid.span.clone(), message, "number them differently");
    }
    let drive = table.text("drive", "write `drive = \"NAME\"`, the name of a [[drive]]", found);
    let drive = drive.and_then(|drive| known_drive(drive, drives, found));
    let drive_nsid = match table.has("drive_nsid") {
        true => Some(table.integer("drive_nsid", 1..=0xffff_fffd, found)?.value as u32),
        false => None,
    };
    let uuid = table.text("uuid", UUID_REMEDY, found);
    let uuid = uuid.and_then(|At { value, span }| {
        unique_uuid(&value, span, (drive.as_deref(), drive_nsid), others, before, found)
    });
    let read_only = table.flag("read_only", found);
    Some(Namespace { nsid: nsid?.value as u32, drive: drive?, drive_nsid, uuid: uuid?, read_only })
}

fn known_drive(drive: At<String>, drives: &[Drive], found: &mut Found) -> Option<String> {
    let At { value, span } = drive;
    if drives.iter().any(|known| known.name == value) {
        return Some(value);
    }
    let names: Vec<&str> = drives.iter().map(|known| known.name.as_str()).collect();
    let remedy = match nearest(&value, &names) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("add a [[drive]] with `name = \"{value}\"`"),
    };
    found.add(span, format!("no [[drive]] is named `{value}`"), remedy);
    None
}

/// Two namespaces with one UUID are one namespace to a host: they must be one namespace of one drive.
fn unique_uuid(
    text: &str,
    span: Range<usize>,
    (drive, drive_nsid): (Option<&str>, Option<u32>),
    others: &[Subsystem],
    before: &[Namespace],
    found: &mut Found,
) -> Option<[u8; 16]> {
    let Some(uuid) = parse_uuid(text).filter(|uuid| *uuid != [0; 16]) else {
        found.add(span, format!("`{text}` is no UUID"), UUID_REMEDY);
        return None;
    };
    let all = others.iter().flat_map(|subsystem| &subsystem.namespaces).chain(before);
    let twin = all.into_iter().find(|other| {
        other.uuid == uuid && drive.is_some_and(|drive| (drive, drive_nsid) != (&other.drive, other.drive_nsid))
    });
    if let Some(twin) = twin {
        let message = format!("drive `{}` has a namespace with this UUID already", twin.drive);
        found.add(span, message, UUID_REMEDY);
        return None;
    }
    Some(uuid)
}
