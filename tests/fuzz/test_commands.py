"""Log entries of senseless commands, or of none: every member's machine answers them alike, and none raises."""

from __future__ import annotations

from pathlib import Path
from random import Random

from fuzz.budget import rounds
from fuzz.hostile import message
from fuzz.mutation import mutate
from fuzz.peers import POISON
from harness.machines import machine

from raftmeta.consensus.contract import Entry
from raftmeta.machine import Applied, Machine
from raftmeta.v1 import command_pb2

ENTRIES = 250
SPACES = (0, 1)


def entries(dice: Random) -> list[Entry]:
    """Return a log of hostile batches, some of them repeated, some broken."""
    made: list[Entry] = []
    for index in range(1, ENTRIES + 1):
        if made and dice.random() < 0.1:
            data = dice.choice(made).data  # proposed again
        else:
            batch = command_pb2.Batch(client=dice.choice((1, 2, 2**64 - 1)), sequence=dice.choice((index, 2**64 - 1)))
            for _ in range(dice.choice((1, 1, 3))):
                command = batch.commands.add()
                command.MergeFromString(message(command_pb2.Command.DESCRIPTOR, dice).SerializeToString())
                if dice.random() < 0.8:
                    command.space = dice.choice(SPACES)
                    command.term = 0
            data = batch.SerializeToString()
            if dice.random() < 0.3:
                data = mutate(dice.choice((data, data, *POISON)), dice)
        made.append(Entry(index, 1 + index // 50, data))
    return made


def applied_to(member: Machine, log: list[Entry], dice: Random) -> list[object]:
    """Apply a log in steps of any size; return what the machine told its listeners became of the batches."""
    told: list[Applied] = []
    member.on_applied(told.append)
    rest = list(log)
    while rest:
        count = dice.choice((1, 1, 7, 40))
        member.apply(rest[:count])
        del rest[:count]
    return [outcome for step in told for outcome in step.outcomes]


def test_no_entry_stops_a_machine_and_all_machines_agree(tmp_path: Path) -> None:
    for seed, dice in rounds(3, 0.1):
        log = entries(dice)
        with machine(tmp_path / f"{seed}-a") as one, machine(tmp_path / f"{seed}-b") as other:
            assert applied_to(one, log, dice) == applied_to(other, log, dice), seed
            for space in SPACES:
                assert one.hash_kv(space, 0) == other.hash_kv(space, 0), seed
                assert one.leases(space) == other.leases(space), seed
            assert one.applied() == other.applied() == (ENTRIES, log[-1].term), seed
