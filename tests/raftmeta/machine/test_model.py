"""The machine against a dictionary, and against itself fed in other portions."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness.machines import Feed, command, machine
from harness.operations import KEYS, Operations, ask
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from raftmeta.consensus.contract import Entry
from raftmeta.etcd import rpc_pb2 as pb
from raftmeta.machine import KeyRange, Machine
from raftmeta.v1 import command_pb2

EVERYTHING = pb.RangeRequest(key=b"\0", range_end=b"\0")
keys = st.sampled_from(KEYS)
Item = tuple[bytes, int, int, int, int]


class DictionaryModel(RuleBasedStateMachine):
    """Every past state as a plain dictionary: key -> (value, created, modified, version, lease)."""

    def __init__(self) -> None:
        super().__init__()
        self._directory = tempfile.TemporaryDirectory()
        self._open = machine(Path(self._directory.name))
        self.feed = Feed(self._open.__enter__())
        self.states: list[dict[bytes, Item]] = [{}, {}]
        self.compacted = 0
        self.leases: set[int] = set()

    def teardown(self) -> None:
        self._open.__exit__(None, None, None)
        self._directory.cleanup()

    @property
    def now(self) -> dict[bytes, Item]:
        return self.states[-1]

    def change(self, update: Callable[[dict[bytes, Item], int], None]) -> None:
        state = dict(self.now)
        update(state, len(self.states))
        if state != self.now:
            self.states.append(state)

    @rule(key=keys, value=st.binary(max_size=4), lease=st.sampled_from((0, 0, 3, 4)))
    def put(self, key: bytes, value: bytes, lease: int) -> None:
        self.feed.put(key, value, lease=lease)
        if lease and lease not in self.leases:
            return

        def update(state: dict[bytes, Item], revision: int) -> None:
            _, created, _, version, _ = state.get(key, (b"", revision, 0, 0, 0))
            state[key] = (value, created, revision, version + 1, lease)

        self.change(update)

    @rule(key=keys, end=st.sampled_from((b"", b"\0", *KEYS)))
    def delete(self, key: bytes, end: bytes) -> None:
        def update(state: dict[bytes, Item], _: int) -> None:
            for one in list(state):
                if one in KeyRange(key, None if end == b"\0" else end):
                    del state[one]

        before = len(self.now)
        self.change(update)
        answer = self.feed(pb.DeleteRangeRequest(key=key, range_end=end))
        assert isinstance(answer, pb.DeleteRangeResponse)
        assert answer.deleted == before - len(self.now)

    @rule(lease=st.sampled_from((3, 4)))
    def toggle_lease(self, lease: int) -> None:
        if lease not in self.leases:
            self.leases.add(lease)
            self.feed(pb.LeaseGrantRequest(ID=lease, TTL=60))
            return
        self.leases.remove(lease)
        self.feed(pb.LeaseRevokeRequest(ID=lease))

        def update(state: dict[bytes, Item], _: int) -> None:
            for key in [key for key, item in state.items() if item[4] == lease]:
                del state[key]

        self.change(update)

    @rule(share=st.floats(0, 1))
    def compact(self, share: float) -> None:
        revision = int(share * (len(self.states) - 1))
        self.feed(pb.CompactionRequest(revision=revision))
        self.compacted = max(self.compacted, revision)

    @rule(share=st.floats(0, 1))
    def read_the_past(self, share: float) -> None:
        revision = max(self.compacted, 1) + int(share * (len(self.states) - 1 - max(self.compacted, 1)))
        found = self.feed.machine.range(0, pb.RangeRequest(key=b"\0", range_end=b"\0", revision=revision))
        assert {item.key: item_of(item) for item in found.kvs} == self.states[revision]

    @rule()
    def reopen(self) -> None:
        self._open.__exit__(None, None, None)
        self._open = machine(Path(self._directory.name))
        self.feed = Feed(self._open.__enter__())

    @invariant()
    def the_present_is_the_models(self) -> None:
        found = self.feed.machine.range(0, EVERYTHING)
        assert found.header.revision == len(self.states) - 1
        assert [item.key for item in found.kvs] == sorted(self.now)
        assert {item.key: item_of(item) for item in found.kvs} == self.now
        for lease in self.leases:
            attached = [key for key in sorted(self.now) if self.now[key][4] == lease]
            assert self.feed.machine.lease_keys(0, lease) == attached

    @invariant()
    def history_leads_from_the_compacted_revision_to_the_present(self) -> None:
        first = max(self.compacted, 1)
        state = dict(self.states[first])
        history = self.feed.machine.events(0, KeyRange(b"", None), first + 1, len(self.states), 1 << 20)
        for revision, changes in history.revisions:
            for event in (change.event for change in changes):
                if event.type == event.PUT:
                    state[event.kv.key] = item_of(event.kv)
                else:
                    del state[event.kv.key]
            assert state == self.states[revision]
        assert state == self.now


def item_of(item: Any) -> Item:
    return item.value, item.create_revision, item.mod_revision, item.version, item.lease


TestDictionaryModel = DictionaryModel.TestCase
TestDictionaryModel.settings = settings(
    max_examples=25, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)


def everything(under_test: Machine) -> list[object]:
    """Return all that can be seen of a machine."""
    return [
        [
            under_test.revisions(space),
            under_test.hash_kv(space, 0),
            under_test.range(space, EVERYTHING),
            under_test.leases(space),
            [under_test.lease_keys(space, lease) for lease in under_test.leases(space)],
            under_test.floors(space),
            under_test.alarms(space),
        ]
        for space in (0, 1)
    ]


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 1 << 32), portions=st.lists(st.integers(1, 17), min_size=1, max_size=5))
def test_the_same_entries_in_other_portions_give_the_same_state_and_answers(seed: int, portions: list[int]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        operations = Operations(seed)
        entries: list[Entry] = []
        with machine(Path(directory) / "one") as one:
            feed = Feed(one)
            for _ in range(120):
                request = operations()
                if isinstance(request, pb.RangeRequest | pb.HashKVRequest):
                    continue
                entries.append(feed.entry(command(request, len(entries) % 2)))
                one.apply(entries[-1:])
                operations.current, operations.compacted = one.revisions(0)
            with machine(Path(directory) / "other") as other:
                told = Feed(other)
                at = 0
                while at < len(entries):
                    size = portions[at % len(portions)]
                    other.apply(entries[max(at - 2, 0) : at + size])  # replaying two that are applied
                    at += size
                assert everything(one) == everything(other)
                assert [out for step in feed.steps for out in step.outcomes] == [
                    out for step in told.steps for out in step.outcomes
                ]
                while one.sweep() or other.sweep():
                    pass
                assert everything(one) == everything(other)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=60))
def test_no_bytes_in_the_log_stop_the_machine(tmp_path: Path, data: bytes) -> None:
    with machine(tmp_path / "fuzzed") as under_test:
        index = under_test.applied()[0]
        good = command_pb2.Batch(client=1, sequence=index + 2, commands=[command(pb.PutRequest(key=b"k"))])
        under_test.apply([Entry(index + 1, 1, data), Entry(index + 2, 1, good.SerializeToString())])
        assert under_test.applied() == (index + 2, 1)


def test_hostile_requests_never_raise_anything_but_refusals(tmp_path: Path) -> None:
    operations = Operations(99)
    with machine(tmp_path / "machine") as under_test:
        feed = Feed(under_test)
        for _ in range(300):
            ask(feed, operations())
            operations.current, operations.compacted = under_test.revisions(0)
        assert under_test.revisions(0)[0] > 50
