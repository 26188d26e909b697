"""p4runtime-shell, the P4 language consortium's client, driven by a script (see exercise.py)."""

import contextlib
import ipaddress

import p4runtime_sh.shell as shell
from google.rpc import code_pb2
from p4runtime_sh.p4runtime import P4RuntimeException, P4RuntimeWriteException

from exercise import Client, Counts, Entry, Refused, election, main


def text(value: int, bits: int) -> str:
    """A value as the shell wants it typed."""
    return str(ipaddress.IPv6Address(value)) if bits == 128 else str(value)


def number(data: bytes) -> int:
    return int.from_bytes(data, "big")


@contextlib.contextmanager
def refusals():
    """The card's refusals, as the exercise knows them."""
    try:
        yield
    except P4RuntimeWriteException as error:
        _, first = error.errors[0]
        raise Refused(code_pb2.Code.Name(first.canonical_code), first.message) from None
    except P4RuntimeException as error:
        raise Refused(error.grpc_error.code().name, error.grpc_error.details()) from None


class Shell(Client):
    @property
    def p4info(self):
        return shell.context.p4info

    def described(self) -> str:
        return str(self.p4info)

    def entries(self, table: str) -> list[Entry]:
        return [self.entry(table, found.msg()) for found in shell.TableEntry(table).read()]

    def entry(self, table: str, message) -> Entry:
        about = next(other for other in self.p4info.tables if other.preamble.name == table)
        names = {field.id: field.name for field in about.match_fields}
        keys = {}
        for match in message.match:
            kind = match.WhichOneof("field_match_type")
            value = getattr(match, kind)
            if kind == "ternary":
                key = number(value.value), number(value.mask)
            elif kind == "range":
                key = number(value.low), number(value.high)
            elif kind == "lpm":
                key = number(value.value), value.prefix_len
            else:
                key = number(value.value)
            keys[names[match.field_id]] = key
        called = message.action.action
        action = next(other for other in self.p4info.actions if other.preamble.id == called.action_id)
        parameters = {parameter.id: parameter.name for parameter in action.params}
        arguments = {parameters[given.param_id]: number(given.value) for given in called.params}
        return Entry(table, keys, action.preamble.alias, arguments, message.priority)

    def typed(self, entry: Entry):
        """The entry, as a user types it."""
        about = next(other for other in self.p4info.tables if other.preamble.name == entry.table)
        bits = {field.name: field.bitwidth for field in about.match_fields}
        typed = shell.TableEntry(entry.table)(action=entry.action)
        for name, key in entry.keys.items():
            if isinstance(key, tuple):
                typed.match[name] = " &&& ".join(text(part, bits[name]) for part in key)
            else:
                typed.match[name] = text(key, bits[name])
        for name, value in entry.arguments.items():
            typed.action[name] = str(value)
        typed.priority = entry.priority
        return typed

    def insert(self, entry: Entry) -> None:
        with refusals():
            self.typed(entry).insert()

    def modify(self, entry: Entry) -> None:
        with refusals():
            self.typed(entry).modify()

    def delete(self, entry: Entry) -> None:
        with refusals():
            self.typed(entry).delete()

    def direct(self, counter: str, entry: Entry):
        direct = shell.DirectCounterEntry(counter)
        direct.table_entry = self.typed(entry)
        return direct

    def hits(self, counter: str, entry: Entry) -> Counts:
        with refusals():
            (found,) = self.direct(counter, entry).read()
        return Counts(found.packet_count, found.byte_count)

    def set_hits(self, counter: str, entry: Entry, counts: Counts) -> None:
        direct = self.direct(counter, entry)
        direct.packet_count = counts.packets
        direct.byte_count = counts.bytes
        with refusals():
            direct.modify()

    def cells(self, counter: str) -> dict[int, Counts]:
        with refusals():
            found = list(shell.CounterEntry(counter).read())
        return {cell.index: Counts(cell.packet_count, cell.byte_count) for cell in found}


@contextlib.contextmanager
def connect(card: str):
    shell.setup(grpc_addr=card, election_id=(0, election()), verbose=False)
    try:
        yield Shell()
    finally:
        # Its thread keeps the process alive otherwise.
        shell.teardown()


if __name__ == "__main__":
    main(connect)
