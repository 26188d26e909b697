"""What any P4Runtime client must be able to do with the card, written once.

with_shell.py and with_finsy.py say how their library does each part (`Client`). Answers are lines of words and name=value pairs;
the exit status is 0 only if everything held that was asserted.
"""

import argparse
import ipaddress
import sys
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass, field, replace

ACCESS = "PacketControl.access"
ACCESS_HITS = "PacketControl.access_hits"
DROPS = "PacketControl.drops"

# Tables of which control alone has the say.
OWNED = {"PacketControl.local_addresses", "PacketControl.qps", "Command.namespaces"}

SOURCE_BITS = 128
PRIORITY = 10


@dataclass(frozen=True)
class Entry:
    """A table's entry. A key is a value, or a value and its mask."""

    table: str
    keys: dict[str, int | tuple[int, int]]
    action: str
    arguments: dict[str, int] = field(default_factory=dict)
    priority: int = 0


@dataclass(frozen=True)
class Counts:
    """What a counter has counted."""

    packets: int
    bytes: int


class Refused(Exception):
    """The card has refused one update, with this code of google.rpc.Code."""

    def __init__(self, code: str, message: str):
        super().__init__(f"{code}: {message}")
        self.code = code


class Failed(Exception):
    """Something asserted does not hold."""


class Client(ABC):
    """A connection to the card, as the primary client of the default role."""

    @property
    @abstractmethod
    def p4info(self):
        """The P4Info message that the card has."""

    @abstractmethod
    def described(self) -> str:
        """The P4Info as the library itself prints it."""

    @abstractmethod
    def entries(self, table: str) -> list[Entry]:
        """All entries of a table."""

    @abstractmethod
    def insert(self, entry: Entry) -> None:
        """Raises `Refused`."""

    @abstractmethod
    def modify(self, entry: Entry) -> None:
        """Raises `Refused`."""

    @abstractmethod
    def delete(self, entry: Entry) -> None:
        """Raises `Refused`."""

    @abstractmethod
    def hits(self, counter: str, entry: Entry) -> Counts:
        """The direct counter of one entry."""

    @abstractmethod
    def set_hits(self, counter: str, entry: Entry, counts: Counts) -> None:
        """Raises `Refused`."""

    @abstractmethod
    def cells(self, counter: str) -> dict[int, Counts]:
        """Every cell of a counter, by index."""


def ensure(condition: bool, message: str) -> None:
    if not condition:
        raise Failed(message)


def source(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> tuple[int, int]:
    """The access list's key for one host: an IPv4 address is mapped into IPv6 (RFC 4291 section 2.5.5.2)."""
    mapped = int(address) if address.version == 6 else 0xFFFF << 32 | int(address)
    return mapped, (1 << SOURCE_BITS) - 1


def denial(address) -> Entry:
    return Entry(ACCESS, {"source": source(address)}, "deny", priority=PRIORITY)


def shown(key: int | tuple[int, int], bits: int) -> str:
    if isinstance(key, tuple):
        value, mask = key
        whole = mask == (1 << bits) - 1
        return shown(value, bits) if whole else f"{shown(value, bits)}/{shown(mask, bits)}"
    if bits != SOURCE_BITS:
        return str(key)
    address = ipaddress.IPv6Address(key)
    return str(address.ipv4_mapped or address)


def tables(client: Client) -> dict:
    return {table.preamble.name: table for table in client.p4info.tables}


def tell(client: Client, entry: Entry, word: str = "entry") -> None:
    """One line for an entry of the access list."""
    bits = {field.name: field.bitwidth for field in tables(client)[entry.table].match_fields}
    keys = "".join(f" {name}={shown(key, bits[name])}" for name, key in sorted(entry.keys.items()))
    counts = client.hits(ACCESS_HITS, entry)
    print(f"{word} action={entry.action} priority={entry.priority} packets={counts.packets} bytes={counts.bytes}{keys}")


def same(client: Client, entry: Entry) -> list[Entry]:
    """The access list's entries with the same key as this one."""
    here = [other for other in client.entries(ACCESS) if other.keys == entry.keys]
    return [other for other in here if other.priority == entry.priority]


def ensure_refused(code: str, what: str, update, *arguments) -> str:
    try:
        update(*arguments)
    except Refused as refused:
        ensure(refused.code == code, f"{what} is refused with {refused}, not with {code}")
        return str(refused)
    raise Failed(f"{what} is not refused")


def info(client: Client) -> None:
    """The P4Info: a line a table and a line a counter, behind what the library makes of it."""
    for line in client.described().splitlines():
        print(f"# {line}")
    package = client.p4info.pkg_info
    print(f"program name={package.name} version={package.version} arch={package.arch}")
    for name, table in tables(client).items():
        keys = ",".join(field.name for field in table.match_fields)
        print(f"table name={name} size={table.size} constant={str(table.is_const_table).lower()} keys={keys}")
    for counter in client.p4info.counters:
        print(f"counter name={counter.preamble.name} size={counter.size}")
    missing = ({ACCESS} | OWNED) - set(tables(client))
    ensure(not missing, f"the P4Info lacks {missing}")
    ensure(not tables(client)[ACCESS].is_const_table, f"{ACCESS} is constant")


def deny(client: Client, address) -> None:
    """Keeps a host out."""
    entry = denial(address)
    client.insert(entry)
    ensure(same(client, entry) == [entry], f"what was inserted is not what is read: {same(client, entry)}")
    tell(client, entry)


def allow(client: Client, address) -> None:
    """Lets a host in again; the line is about the entry that is gone."""
    entry = denial(address)
    ensure(same(client, entry) == [entry], f"{address} is not denied: {same(client, entry)}")
    tell(client, entry, "gone")
    client.delete(entry)
    ensure(same(client, entry) == [], f"what was deleted is read: {same(client, entry)}")


def listing(client: Client) -> None:
    """The access list with its counters, and what was dropped for which reason."""
    for entry in client.entries(ACCESS):
        tell(client, entry)
    reasons = client.p4info.type_info.serializable_enums["drop_t"].members
    names = {int.from_bytes(member.value, "big"): member.name for member in reasons}
    for index, counts in sorted(client.cells(DROPS).items()):
        if index in names:
            print(f"drops reason={names[index]} packets={counts.packets} bytes={counts.bytes}")


def everything(client: Client, address) -> None:
    """All that the card offers a client, one step after the other; each is told when it has held."""
    info(client)
    print(f"ok p4info: {len(tables(client))} tables")
    entry = denial(address)
    before = client.entries(ACCESS)
    ensure(same(client, entry) == [], f"{address} is denied already")
    try:
        change_one(client, entry, before)
    except BaseException:
        # Not to be in the way of whoever comes next.
        if same(client, entry):
            client.delete(entry)
        raise
    owners(client)
    print("ok all")


def change_one(client: Client, entry: Entry, before: list[Entry]) -> None:
    client.insert(entry)
    print("ok insert")
    ensure(same(client, entry) == [entry], f"read {same(client, entry)}, not {entry}")
    ensure(len(client.entries(ACCESS)) == len(before) + 1, "an insert added more or less than one entry")
    tell(client, entry)
    print("ok read")
    ensure_refused("ALREADY_EXISTS", "a second insert", client.insert, entry)
    print("ok insert twice: refused")

    louder = replace(entry, action="deny_and_tell")
    client.modify(louder)
    ensure(same(client, entry) == [louder], f"read {same(client, entry)}, not {louder}")
    tell(client, louder)
    print("ok modify")

    ensure(client.hits(ACCESS_HITS, louder) == Counts(0, 0), "an entry that nobody met has been counted")
    counts = Counts(7, 7 * 1500)
    client.set_hits(ACCESS_HITS, louder, counts)
    read = client.hits(ACCESS_HITS, louder)
    ensure(read == counts, f"the counter was set to {counts} and is {read}")
    tell(client, louder)
    cells = client.cells(DROPS)
    size = next(counter.size for counter in client.p4info.counters if counter.preamble.name == DROPS)
    ensure(sorted(cells) == list(range(size)), f"{DROPS} has cells {sorted(cells)}, not {size}")
    print("ok counters")

    client.delete(louder)
    ensure(client.entries(ACCESS) == before, f"after a delete: {client.entries(ACCESS)}; before: {before}")
    print("ok delete")
    ensure_refused("NOT_FOUND", "a second delete", client.delete, louder)
    ensure_refused("NOT_FOUND", "to modify what is not there", client.modify, entry)
    print("ok delete twice: refused")


def owners(client: Client) -> None:
    """Tables of control's can be read and not written."""
    for name in sorted(OWNED):
        table = tables(client)[name]
        ensure(table.is_const_table, f"{name} is not constant in the P4Info")
        before = client.entries(name)
        actions = {action.preamble.id: action for action in client.p4info.actions}
        # The first action is one that entries have: what only a default may be comes last.
        action = actions[table.action_refs[0].id]
        keys = {field.name: 1 for field in table.match_fields}
        arguments = {parameter.name: 1 for parameter in action.params}
        entry = Entry(name, keys, action.preamble.alias, arguments)
        said = ensure_refused("PERMISSION_DENIED", f"an entry of {name}", client.insert, entry)
        print(f"ok {name}: {len(before)} entries, written to: {said}")
        for other in before:
            ensure_refused("PERMISSION_DENIED", f"to delete an entry of {name}", client.delete, other)
        ensure(client.entries(name) == before, f"{name} has changed")
    # What the programs bring themselves can be read too: the opcodes of the transport, and those of NVMe.
    for name, least in [("PacketControl.opcodes", 20), ("Command.opcodes", 6)]:
        own = client.entries(name)
        ensure(len(own) >= least, f"{name} has {len(own)} entries")
        print(f"ok {name}: {len(own)} entries of the program's own")


def election() -> int:
    """An election id above every earlier client's: one that has just gone may not be gone for the card."""
    return time.time_ns() // 1000


def main(connect) -> None:
    """Does what the command line says with the client that `connect` makes for an address."""
    parser = argparse.ArgumentParser(description="A P4Runtime client and the card")
    parser.add_argument("card", help="host:port of the card's P4Runtime server")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("info", help=info.__doc__).set_defaults(run=info)
    commands.add_parser("list", help=listing.__doc__).set_defaults(run=listing)
    for name, run in {"deny": deny, "allow": allow, "all": everything}.items():
        command = commands.add_parser(name, help=run.__doc__)
        command.add_argument("address", type=ipaddress.ip_address, help="of a host")
        command.set_defaults(run=run)
    given = parser.parse_args()
    try:
        with connect(given.card) as client:
            given.run(client, given.address) if "address" in given else given.run(client)
    except (Failed, Refused) as error:
        print(f"failed: {error}", file=sys.stderr)
        sys.exit(1)
