"""finsy, a client framework on asyncio (see exercise.py)."""

import asyncio
import contextlib
import logging

import finsy
from finsy import (
    Action,
    Match,
    P4ClientError,
    P4CounterData,
    P4CounterEntry,
    P4DirectCounterEntry,
    P4TableEntry,
)

from exercise import Client, Counts, Entry, Refused, election, main


class Finsy(Client):
    def __init__(self, switch: finsy.Switch, runner: asyncio.Runner):
        self.switch = switch
        self.runner = runner

    @property
    def p4info(self):
        return self.switch.p4info.p4info

    def described(self) -> str:
        return str(self.switch.p4info)

    def run(self, awaited):
        try:
            return self.runner.run(awaited)
        except P4ClientError as error:
            if not error.details:
                raise Refused(error.code.name, error.message) from None
            first = error.details[min(error.details)]
            raise Refused(first.canonical_code.name, first.message) from None

    def read(self, wanted) -> list:
        async def all_of_it():
            return [found async for found in self.switch.read(wanted)]

        return self.run(all_of_it())

    def write(self, update) -> None:
        self.run(self.switch.write(update))

    def entries(self, table: str) -> list[Entry]:
        return [
            Entry(table, dict(found.match), found.action.name, dict(found.action.args), found.priority)
            for found in self.read(P4TableEntry(table))
        ]

    @staticmethod
    def made(entry: Entry, action: bool = True) -> P4TableEntry:
        return P4TableEntry(
            entry.table,
            match=Match(entry.keys),
            action=Action(entry.action, **entry.arguments) if action else None,
            priority=entry.priority,
        )

    def insert(self, entry: Entry) -> None:
        self.write(+self.made(entry))

    def modify(self, entry: Entry) -> None:
        self.write(~self.made(entry))

    def delete(self, entry: Entry) -> None:
        self.write(-self.made(entry, action=False))

    def hits(self, counter: str, entry: Entry) -> Counts:
        wanted = P4DirectCounterEntry(counter, table_entry=self.made(entry, action=False))
        (found,) = self.read(wanted)
        return Counts(found.packet_count, found.byte_count)

    def set_hits(self, counter: str, entry: Entry, counts: Counts) -> None:
        data = P4CounterData(packet_count=counts.packets, byte_count=counts.bytes)
        self.write(~P4DirectCounterEntry(counter, table_entry=self.made(entry, action=False), data=data))

    def cells(self, counter: str) -> dict[int, Counts]:
        found = self.read(P4CounterEntry(counter))
        return {cell.index: Counts(cell.packet_count, cell.byte_count) for cell in found}


@contextlib.contextmanager
def connect(card: str):
    # It asks for gNMI, too, and is told that there is none.
    logging.getLogger("finsy").setLevel(logging.ERROR)
    with asyncio.Runner() as runner:
        switch = finsy.Switch("card", card, finsy.SwitchOptions(initial_election_id=election()))
        runner.run(switch.__aenter__())
        try:
            yield Finsy(switch, runner)
        finally:
            runner.run(switch.__aexit__(None, None, None))


if __name__ == "__main__":
    main(connect)
