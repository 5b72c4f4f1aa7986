"""Group commit over a consensus that does what the test says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import cast

import pytest
import pytest_asyncio

from raftmeta.consensus.contract import Consensus, Member, Refusal, Role, Status
from raftmeta.errors import Fault, MetastoreError
from raftmeta.etcd import rpc_pb2 as pb
from raftmeta.machine import Outcome
from raftmeta.proposer import Proposer
from raftmeta.reads import ReadGate
from raftmeta.v1 import command_pb2

CLIENT = 77


class Scripted:
    """Keeps what is asked of it; the test answers."""

    def __init__(self, leader: int = 1) -> None:
        self.proposed: list[tuple[command_pb2.Batch, Callable[[Refusal], None]]] = []
        self.called: list[tuple[int, str, bytes, Callable[[bytes | Refusal], None]]] = []
        self.reads: list[Callable[[int | Refusal], None]] = []
        self.handlers: dict[str, Callable[[int, bytes, Callable[[bytes | Refusal], None]], None]] = {}
        self.lead(leader)

    def lead(self, leader: int, term: int = 1) -> Status:
        role = Role.LEADER if leader == 1 else Role.FOLLOWER
        self._status = Status(1, role, term, leader, 0, 0, 0, {i: Member(i, f"m{i}", f"h:{i}") for i in (1, 2, 3)})
        return self._status

    def proposals_beyond(self, count: int) -> bool:
        return len(self.proposed) > count

    def propose(self, data: bytes, refused: Callable[[Refusal], None]) -> None:
        self.proposed.append((command_pb2.Batch.FromString(data), refused))

    def call(
        self, member_id: int, method: str, payload: bytes, done: Callable[[bytes | Refusal], None], timeout: float
    ) -> None:
        self.called.append((member_id, method, payload, done))

    def tell(self, member_id: int, method: str, payload: bytes, unsent: Callable[[bytes | Refusal], None]) -> None:
        self.called.append((member_id, method, payload, unsent))

    def serve(self, method: str, handler: Callable[[int, bytes, Callable[[bytes | Refusal], None]], None]) -> None:
        self.handlers[method] = handler

    def read_index(self, done: Callable[[int | Refusal], None]) -> None:
        self.reads.append(done)

    def status(self) -> Status:
        return self._status


@pytest_asyncio.fixture
async def consensus() -> Scripted:
    return Scripted()


@pytest_asyncio.fixture
async def proposer(consensus: Scripted) -> AsyncIterator[Proposer]:
    made = Proposer(cast(Consensus, consensus), CLIENT, asyncio.get_running_loop(), timeout=2.0, max_pending=2500)
    yield made
    made.stop()


def _put(key: bytes = b"k", value: bytes = b"") -> command_pb2.Command:
    return command_pb2.Command(space=0, put=pb.PutRequest(key=key, value=value))


async def _until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


def _answers(batch: command_pb2.Batch) -> Outcome:
    answers = [pb.PutResponse(header=pb.ResponseHeader(revision=i + 2)) for i in range(len(batch.commands))]
    return Outcome(batch.client, batch.sequence, list(answers))


async def test_commands_of_one_turn_share_a_batch_and_get_their_own_answers(
    consensus: Scripted, proposer: Proposer
) -> None:
    futures = [proposer.submit(_put(b"%d" % i)) for i in range(50)]
    await _until(lambda: consensus.proposed)
    batch, _ = consensus.proposed[0]
    assert (batch.client, batch.sequence, len(batch.commands)) == (CLIENT, 1, 50)
    assert [command.put.key for command in batch.commands] == [b"%d" % i for i in range(50)]
    proposer.applied([_answers(batch)])
    revisions = [(await future).header.revision for future in futures]  # type: ignore[attr-defined]
    assert revisions == list(range(2, 52))
    assert (proposer.pending, proposer.committed) == (0, 50)


class Told:
    """Who asked without a future: writes down what it is told."""

    def __init__(self) -> None:
        self.outcomes: list[object] = []
        self.left = False

    def done(self) -> bool:
        return self.left or bool(self.outcomes)

    def set_result(self, result: object, /) -> None:
        self.outcomes.append(result)

    def set_exception(self, exception: MetastoreError, /) -> None:
        self.outcomes.append(exception.fault)


async def test_what_settles_leaves_at_once_when_the_loop_has_nothing_else_to_do(
    consensus: Scripted, proposer: Proposer
) -> None:
    askers = [Told() for _ in range(3)]
    await asyncio.sleep(0)
    for asker in askers:
        proposer.propose(_put(b"x").SerializeToString(), asker)
    assert not consensus.proposed
    proposer.settle()
    (batch, _), *others = consensus.proposed
    assert (len(batch.commands), others) == (3, [])
    proposer.applied([_answers(batch)])
    assert [asker.outcomes[0].header.revision for asker in askers] == [2, 3, 4]  # type: ignore[attr-defined]


async def test_what_settles_waits_for_what_the_loop_does_next(consensus: Scripted, proposer: Proposer) -> None:
    loop = asyncio.get_running_loop()
    asker = Told()
    loop.call_soon(proposer.submit, _put(b"other"))
    proposer.propose(_put(b"x").SerializeToString(), asker)
    proposer.settle()
    assert not consensus.proposed
    await _until(lambda: consensus.proposed)
    assert [command.put.key for command in consensus.proposed[0][0].commands] == [b"x", b"other"]


async def test_who_left_before_a_batch_was_made_is_in_none(consensus: Scripted, proposer: Proposer) -> None:
    askers = [Told() for _ in range(2)]
    askers[0].left = True
    for asker in askers:
        proposer.propose(_put(b"x").SerializeToString(), asker)
    proposer.settle()
    await _until(lambda: consensus.proposed)
    assert len(consensus.proposed[0][0].commands) == 1
    proposer.stop()
    assert [asker.outcomes for asker in askers] == [[], [Fault.STOPPED]]
    late = Told()
    proposer.propose(_put(b"x").SerializeToString(), late)
    assert late.outcomes == [Fault.STOPPED]


async def test_draining_ends_with_the_last_outcome_or_in_time(consensus: Scripted, proposer: Proposer) -> None:
    asker = Told()
    await proposer.drain(10)
    proposer.propose(_put().SerializeToString(), asker)
    proposer.settle()
    await proposer.drain(0.01)
    assert not asker.outcomes
    await _until(lambda: consensus.proposed)
    draining = asyncio.create_task(proposer.drain(60))
    await asyncio.sleep(0)
    proposer.applied([_answers(consensus.proposed[0][0])])
    async with asyncio.timeout(10):
        await draining
    assert asker.outcomes


async def test_unknown_fields_too_deep_for_a_batch_do_not_make_it_unreadable(
    consensus: Scripted, proposer: Proposer
) -> None:
    groups = b"\xa3\x06" * 99 + b"\xa4\x06" * 99  # field 100, nested as deep as a request alone may be
    deep = pb.PutRequest.FromString(pb.PutRequest(key=b"deep").SerializeToString() + groups)
    for put in (deep, pb.PutRequest(key=b"other")):
        proposer.submit(command_pb2.Command(put=put))
    await _until(lambda: consensus.proposed)
    batch, _ = consensus.proposed[0]
    assert [command.put.key for command in batch.commands] == [b"deep", b"other"]


async def test_batches_are_bounded_in_number_and_bytes(consensus: Scripted, proposer: Proposer) -> None:
    futures = [proposer.submit(_put()) for _ in range(1001)]
    futures += [proposer.submit(_put(value=b"v" * 1_000_000)) for _ in range(2)]
    sizes = []
    for i in range(3):
        await _until(partial(consensus.proposals_beyond, i))
        batch = consensus.proposed[i][0]
        sizes.append(len(batch.commands))
        proposer.applied([_answers(batch)])
    await asyncio.gather(*futures)
    assert sizes == [1000, 2, 1]


async def test_commands_wait_for_the_batch_on_its_way_unless_they_fill_one(
    consensus: Scripted, proposer: Proposer
) -> None:
    futures = [proposer.submit(_put())]
    await _until(lambda: consensus.proposed)
    for _ in range(2):
        futures += [proposer.submit(_put()) for _ in range(5)]
        for _ in range(3):
            await asyncio.sleep(0)  # whatever was to leave in this turn of the loop leaves
    proposer.applied([_answers(consensus.proposed[0][0])])
    assert [len(batch.commands) for batch, _ in consensus.proposed] == [1, 10]
    futures += [proposer.submit(_put()) for _ in range(1000)]
    await _until(partial(consensus.proposals_beyond, 2))
    assert len(consensus.proposed[2][0].commands) == 1000
    proposer.applied([_answers(batch) for batch, _ in consensus.proposed[1:]])
    await asyncio.gather(*futures)


async def test_what_waits_for_a_batch_that_takes_long_leaves_without_it(
    consensus: Scripted, proposer: Proposer
) -> None:
    futures = [proposer.submit(_put(b"slow"))]
    await _until(lambda: consensus.proposed)
    futures.append(proposer.submit(_put(b"after")))
    await _until(partial(consensus.proposals_beyond, 1))
    proposer.applied([_answers(batch) for batch, _ in consensus.proposed])
    await asyncio.gather(*futures)


async def test_a_refused_command_fails_alone(consensus: Scripted, proposer: Proposer) -> None:
    futures = [proposer.submit(_put()) for _ in range(2)]
    await _until(lambda: consensus.proposed)
    proposer.applied([Outcome(CLIENT, 1, [Fault.LEASE_NOT_FOUND, pb.PutResponse()])])
    with pytest.raises(MetastoreError) as refused:
        await futures[0]
    assert refused.value.fault is Fault.LEASE_NOT_FOUND
    assert isinstance(await futures[1], pb.PutResponse)


async def test_a_follower_sends_to_the_leader_and_again_under_the_same_number_to_the_next(
    consensus: Scripted, proposer: Proposer
) -> None:
    consensus.lead(2)
    future = proposer.submit(_put())
    await _until(lambda: consensus.called)
    proposer.status_changed(consensus.lead(3, term=2))
    assert [call[0] for call in consensus.called] == [2, 3]
    assert consensus.called[0][2] == consensus.called[1][2]
    proposer.status_changed(consensus.lead(1, term=3))
    batch, _ = consensus.proposed[0]
    assert (batch.client, batch.sequence) == (CLIENT, 1)
    proposer.applied([_answers(batch)])
    await future


async def test_what_did_not_leave_for_the_leader_is_sent_again(consensus: Scripted, proposer: Proposer) -> None:
    consensus.lead(2)
    future = proposer.submit(_put())
    await _until(lambda: consensus.called)
    consensus.called[0][3](Refusal.NOT_MEMBER)
    await _until(lambda: len(consensus.called) > 1)
    assert consensus.called[0][:3] == consensus.called[1][:3]
    proposer.applied([_answers(command_pb2.Batch.FromString(consensus.called[1][2]))])
    await future


async def test_no_leader_means_waiting_and_then_an_unknown_outcome(consensus: Scripted, proposer: Proposer) -> None:
    consensus.lead(0)
    future = proposer.submit(_put())
    with pytest.raises(MetastoreError) as failed:
        await future
    assert failed.value.fault is Fault.TIMEOUT
    assert (consensus.proposed, consensus.called, proposer.pending, proposer.failed) == ([], [], 0, 1)


@pytest.mark.parametrize(
    ("refusal", "fault"),
    [
        (Refusal.BUSY, Fault.TOO_MANY_REQUESTS),
        (Refusal.NO_SPACE, Fault.NO_SPACE),
        (Refusal.STOPPED, Fault.STOPPED),
    ],
)
async def test_a_definite_refusal_is_told_at_once(
    consensus: Scripted, proposer: Proposer, refusal: Refusal, fault: Fault
) -> None:
    future = proposer.submit(_put())
    await _until(lambda: consensus.proposed)
    consensus.proposed[0][1](refusal)
    with pytest.raises(MetastoreError) as failed:
        await future
    assert failed.value.fault is fault


async def test_a_leaders_refusal_reaches_the_follower_that_sent_the_batch(
    consensus: Scripted, proposer: Proposer
) -> None:
    consensus.lead(2)
    future = proposer.submit(_put())
    await _until(lambda: consensus.called)
    consensus.handlers["refused"](2, b"%d 1 BUSY" % CLIENT, lambda _: None)
    with pytest.raises(MetastoreError) as failed:
        await future
    assert failed.value.fault is Fault.TOO_MANY_REQUESTS


async def test_a_batch_that_may_be_in_a_log_is_not_declared_refused(consensus: Scripted, proposer: Proposer) -> None:
    future = proposer.submit(_put())
    await _until(lambda: consensus.proposed)
    proposer.status_changed(consensus.lead(1, term=2))
    consensus.proposed[1][1](Refusal.BUSY)
    await _until(lambda: len(consensus.proposed) > 2)
    proposer.applied([_answers(consensus.proposed[2][0])])
    await future


async def test_a_leader_proposes_for_others_and_tells_them_refusals(consensus: Scripted, proposer: Proposer) -> None:
    batch = command_pb2.Batch(client=5, sequence=9, commands=[_put()])
    replies: list[bytes | Refusal] = []
    consensus.handlers["propose"](3, batch.SerializeToString(), replies.append)
    assert (replies, consensus.proposed[0][0]) == ([b""], batch)
    consensus.proposed[0][1](Refusal.NO_SPACE)
    assert consensus.called[0][:3] == (3, "refused", b"5 9 NO_SPACE")


def _warning(log: pytest.LogCaptureFixture, *words: str) -> None:
    [said] = log.records
    assert (said.levelname, said.exc_info) == ("WARNING", None)
    assert all(word in said.getMessage() for word in words), said.getMessage()


async def test_a_refused_proposal_that_is_no_batch_is_one_line_in_the_log(
    consensus: Scripted, proposer: Proposer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(consensus, "propose", lambda data, refused: refused(Refusal.BUSY))
    consensus.handlers["propose"](3, b"\xff", lambda _: None)
    _warning(caplog, "member 3", "no batch", "BUSY")
    assert consensus.called == []


@pytest.mark.parametrize(
    "notice", [b"", b"1 2", b"1 2 BUSY more", b"one 2 BUSY", b"77 two BUSY", b"77 2 MAYBE", b"77 2 \xff", b"9" * 5000]
)
async def test_a_notice_of_refusal_that_cannot_be_read_is_one_line_in_the_log(
    consensus: Scripted, proposer: Proposer, caplog: pytest.LogCaptureFixture, notice: bytes
) -> None:
    consensus.handlers["refused"](2, notice, lambda _: None)
    _warning(caplog, "member 2", "cannot be read")


async def test_the_queue_and_a_request_are_bounded(consensus: Scripted, proposer: Proposer) -> None:
    consensus.lead(0)
    futures = [proposer.submit(_put()) for _ in range(2500)]
    for command, fault in ((_put(), Fault.TOO_MANY_REQUESTS), (_put(value=b"v" * 1_600_000), Fault.REQUEST_TOO_LARGE)):
        with pytest.raises(MetastoreError) as refused:
            await proposer.submit(command)
        assert refused.value.fault is fault
    proposer.stop()
    outcomes = await asyncio.gather(*futures, return_exceptions=True)
    assert {one.fault for one in outcomes if isinstance(one, MetastoreError)} == {Fault.STOPPED}


async def test_readers_share_rounds_and_wait_until_the_state_has_caught_up(consensus: Scripted) -> None:
    applied = [5]
    gate = ReadGate(cast(Consensus, consensus), lambda: applied[0], asyncio.get_running_loop(), timeout=5.0)
    first = [gate.confirmed() for _ in range(10)]
    await _until(lambda: len(consensus.reads) == 1)
    late = gate.confirmed()
    consensus.reads[0](7)
    await _until(lambda: gate.target == 7)
    assert not any(future.done() for future in first)
    applied[0] = 7
    gate.advanced()
    await asyncio.gather(*first)
    assert not late.done()
    await _until(lambda: len(consensus.reads) == 2)
    consensus.reads[1](Refusal.LEADER_CHANGED)
    await _until(lambda: len(consensus.reads) == 3)
    consensus.reads[2](7)
    await late
    gate.stop()
    with pytest.raises(MetastoreError) as stopped:
        await gate.confirmed()
    assert stopped.value.fault is Fault.STOPPED
