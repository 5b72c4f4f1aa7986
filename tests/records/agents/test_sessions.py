"""Sessions: labels, aliases, heads, forks, and what each refuses."""

from __future__ import annotations

from collections.abc import Iterator

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from grpc import aio
from harness.conversations import Ledger, exchange
from harness.failures import reason_of
from quartet.agents.v1 import list_calls_pb2, turn_calls_pb2
from quartet.agents.v1 import session_calls_pb2 as calls
from quartet.agents.v1 import sessions_pb2 as pb

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_session_is_found_by_its_label_then_by_an_alias_and_then_made(ledger: Ledger) -> None:
    await ledger.session("mom")
    await ledger.calls.AddAlias(calls.AddAliasRequest(alias="mum", session_label="mom"))
    for name, label, created in (("mom", "mom", False), ("mum", "mom", False), ("dad", "dad", True)):
        answer = await ledger.calls.OpenSession(calls.OpenSessionRequest(label=name))
        assert (answer.session.label, answer.created) == (label, created)
    assert (await ledger.calls.GetSession(calls.GetSessionRequest(label="mum"))).label == "mom"


async def test_a_session_begins_with_what_nobody_said_filled_in(ledger: Ledger) -> None:
    session = await ledger.session("mom", routing_key="imessage:1")
    assert (session.persona_id, session.status) == ("main", pb.SESSION_STATUS_ACTIVE)
    assert not session.HasField("thread_id")
    assert session.created_at == session.updated_at
    assert session.etag == "1"


async def test_a_session_that_is_made_with_a_head_has_that_in_its_history(ledger: Ledger) -> None:
    await ledger.session("mom")
    turn = (await ledger.append()).turn.id
    made = await ledger.session("copy", thread_id=turn)
    moves = await ledger.calls.ListSessionHistory(calls.ListSessionHistoryRequest(session_label="copy"))
    assert made.thread_id == turn
    assert [move.thread_id for move in moves.session_history] == [turn]


async def test_every_move_of_a_pointer_is_logged_in_order(ledger: Ledger) -> None:
    await ledger.session()
    turns = [(await ledger.append()).turn.id for _ in range(3)]
    await ledger.calls.MoveHead(calls.MoveHeadRequest(session_label="mom", turn_id=turns[0]))
    await ledger.calls.MoveHead(calls.MoveHeadRequest(session_label="mom", turn_id=turns[0]))
    moves = await ledger.calls.ListSessionHistory(calls.ListSessionHistoryRequest(session_label="mom"))
    assert [move.thread_id for move in moves.session_history] == [*turns, turns[0]]
    assert [move.id for move in moves.session_history] == [1, 2, 3, 4]


async def test_a_fork_goes_on_from_any_turn_and_copies_nothing(ledger: Ledger) -> None:
    await ledger.session("mom", persona_id="atlas", routing_key="r")
    first, _second = [(await ledger.append()).turn.id for _ in range(2)]
    forked = await ledger.calls.ForkSession(calls.ForkSessionRequest(session_label="mom", turn_id=first))
    assert (forked.origin, forked.persona_id, forked.routing_key) == ("fork", "atlas", "r")
    assert (forked.thread_id, forked.parent_turn_id, forked.parent_session_label) == (first, first, "mom")
    branch = await ledger.append(forked.label)
    assert (branch.turn.parent_turn_id, branch.thread.depth) == (first, 1)
    children = await ledger.calls.ListTurns(list_calls_pb2.ListTurnsRequest(parent_turn_id=first))
    assert len(children.turns) == 2
    whole = await ledger.calls.GetTurn(turn_calls_pb2.GetTurnRequest(id=first))
    assert whole.turn.has_children


async def test_a_fork_without_a_turn_goes_on_from_where_the_session_is(ledger: Ledger) -> None:
    await ledger.session()
    turn = (await ledger.append()).turn.id
    fork = pb.Session(label="other", persona_id="vulcan")
    forked = await ledger.calls.ForkSession(calls.ForkSessionRequest(session_label="mom", session=fork))
    assert (forked.label, forked.thread_id, forked.persona_id) == ("other", turn, "vulcan")


async def test_only_what_the_mask_names_changes_and_an_old_etag_is_refused(ledger: Ledger) -> None:
    session = await ledger.session("mom", persona_id="atlas")
    changed = await _update(ledger, pb.Session(label="mom", task_description="t", persona_id="x"), "task_description")
    assert (changed.task_description, changed.persona_id) == ("t", "atlas")
    with pytest.raises(aio.AioRpcError) as error:
        await _update(ledger, pb.Session(label="mom", persona_id="y", etag=session.etag), "persona_id")
    assert reason_of(error.value) == "ETAG_STALE"


async def test_a_session_that_is_put_away_takes_no_turns_until_it_is_taken_up_again(ledger: Ledger) -> None:
    await ledger.session()
    turn = (await ledger.append()).turn.id
    await _update(ledger, pb.Session(label="mom", status=pb.SESSION_STATUS_ARCHIVED), "status")
    for attempt in (ledger.append(), ledger.calls.MoveHead(calls.MoveHeadRequest(session_label="mom", turn_id=turn))):
        with pytest.raises(aio.AioRpcError) as error:
            await attempt
        assert reason_of(error.value) == "SESSION_CLOSED"
    await _update(ledger, pb.Session(label="mom", status=pb.SESSION_STATUS_ACTIVE), "status")
    await ledger.append()


async def test_an_alias_leads_to_its_session_until_it_is_taken_away(ledger: Ledger) -> None:
    await ledger.session()
    made = await ledger.calls.AddAlias(
        calls.AddAliasRequest(alias="mum", session_label="mom", reason=pb.ALIAS_REASON_IDENTITY_MERGE)
    )
    assert made.reason == pb.ALIAS_REASON_IDENTITY_MERGE
    await ledger.calls.AddAlias(calls.AddAliasRequest(alias="ma", session_label="mum"))
    listed = await ledger.calls.ListSessionAliases(calls.ListSessionAliasesRequest(session_label="mom"))
    assert [(one.alias, one.session_label) for one in listed.session_aliases] == [("ma", "mom"), ("mum", "mom")]
    assert (await ledger.append("mum")).turn.id == await ledger.head("mom")
    removed = await ledger.calls.RemoveAlias(calls.RemoveAliasRequest(alias="mum"))
    assert removed.session_label == "mom"
    with pytest.raises(aio.AioRpcError) as error:
        await ledger.head("mum")
    assert reason_of(error.value) == "SESSION_NOT_FOUND"


async def test_sessions_are_listed_by_what_they_say(ledger: Ledger) -> None:
    for label, persona, origin in (("a", "atlas", "cursor"), ("b", "atlas", "codex"), ("c", "vulcan", "codex")):
        await ledger.session(label, persona_id=persona, origin=origin)
    for request, labels in (
        (calls.ListSessionsRequest(), "abc"),
        (calls.ListSessionsRequest(persona_id="atlas"), "ab"),
        (calls.ListSessionsRequest(origin="codex"), "bc"),
        (calls.ListSessionsRequest(filter='persona_id = "atlas" AND origin = "codex"'), "b"),
        (calls.ListSessionsRequest(order_by="label desc"), "cba"),
    ):
        assert "".join(one.label for one in (await ledger.calls.ListSessions(request)).sessions) == labels


async def test_zones_have_sessions_of_their_own(ledger: Ledger, channel: aio.Channel, zones: Iterator[str]) -> None:
    one, other = ledger, Ledger(channel, next(zones))
    await one.session()
    turn = (await one.append()).turn.id
    await other.session()
    for attempt in (
        other.calls.MoveHead(calls.MoveHeadRequest(session_label="mom", turn_id=turn)),
        other.append(contents=exchange(parent_turn_id=turn)),
    ):
        with pytest.raises(aio.AioRpcError) as error:
            await attempt
        assert reason_of(error.value) == "TURN_NOT_FOUND"


@pytest.mark.parametrize(
    ("method", "request_", "code", "reason"),
    [
        ("GetSession", calls.GetSessionRequest(label="nobody"), "NOT_FOUND", "SESSION_NOT_FOUND"),
        ("GetSession", calls.GetSessionRequest(), "INVALID_ARGUMENT", "FIELD_INVALID"),
        (
            "CreateSession",
            calls.CreateSessionRequest(session=pb.Session(label="mom")),
            "ALREADY_EXISTS",
            "SESSION_EXISTS",
        ),
        (
            "CreateSession",
            calls.CreateSessionRequest(session=pb.Session(label="mum")),
            "ALREADY_EXISTS",
            "SESSION_EXISTS",
        ),
        (
            "CreateSession",
            calls.CreateSessionRequest(session=pb.Session(label="x", thread_id="gone")),
            "NOT_FOUND",
            "TURN_NOT_FOUND",
        ),
        (
            "CreateSession",
            calls.CreateSessionRequest(session=pb.Session(label="x", parent_turn_id="gone")),
            "NOT_FOUND",
            "TURN_NOT_FOUND",
        ),
        (
            "CreateSession",
            calls.CreateSessionRequest(session=pb.Session(label="x", task_description="t" * 140_000)),
            "INVALID_ARGUMENT",
            "FIELD_INVALID",
        ),
        ("AddAlias", calls.AddAliasRequest(alias="mum", session_label="mom"), "ALREADY_EXISTS", "ALIAS_TAKEN"),
        ("AddAlias", calls.AddAliasRequest(alias="mom", session_label="mom"), "ALREADY_EXISTS", "ALIAS_TAKEN"),
        ("AddAlias", calls.AddAliasRequest(alias="m", session_label="gone"), "NOT_FOUND", "SESSION_NOT_FOUND"),
        ("RemoveAlias", calls.RemoveAliasRequest(alias="gone"), "NOT_FOUND", "RECORD_NOT_FOUND"),
        (
            "MoveHead",
            calls.MoveHeadRequest(session_label="mom", turn_id="t", expected_head="other"),
            "ABORTED",
            "HEAD_MOVED",
        ),
        ("MoveHead", calls.MoveHeadRequest(session_label="mom", turn_id="gone"), "NOT_FOUND", "TURN_NOT_FOUND"),
        ("ForkSession", calls.ForkSessionRequest(), "INVALID_ARGUMENT", "FIELD_INVALID"),
        ("ForkSession", calls.ForkSessionRequest(session_label="mom"), "NOT_FOUND", "TURN_NOT_FOUND"),
        (
            "UpdateSession",
            calls.UpdateSessionRequest(session=pb.Session(label="mom"), update_mask=FieldMask(paths=["thread_id"])),
            "INVALID_ARGUMENT",
            "FIELD_INVALID",
        ),
        (
            "UpdateSession",
            calls.UpdateSessionRequest(session=pb.Session(label="mom"), update_mask=FieldMask(paths=["persona_id"])),
            "INVALID_ARGUMENT",
            "FIELD_INVALID",
        ),
        (
            "UpdateSession",
            calls.UpdateSessionRequest(session=pb.Session(label="mom")),
            "INVALID_ARGUMENT",
            "FIELD_INVALID",
        ),
        ("ListSessions", calls.ListSessionsRequest(filter="colour = 1"), "INVALID_ARGUMENT", "COLUMN_UNKNOWN"),
    ],
)
async def test_what_cannot_be_done_with_a_session_has_its_reason(
    ledger: Ledger, method: str, request_: object, code: str, reason: str
) -> None:
    await ledger.session()
    await ledger.calls.AddAlias(calls.AddAliasRequest(alias="mum", session_label="mom"))
    with pytest.raises(aio.AioRpcError) as error:
        await getattr(ledger.calls, method)(request_)
    assert (error.value.code(), reason_of(error.value)) == (grpc.StatusCode[code], reason)


async def _update(ledger: Ledger, session: pb.Session, *fields: str) -> pb.Session:
    return await ledger.calls.UpdateSession(
        calls.UpdateSessionRequest(session=session, update_mask=FieldMask(paths=fields))
    )
