"""New turns: all of one or nothing, where it stands, and one winner for each head."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from grpc import aio
from harness.conversations import ASSISTANT, Ledger, exchange, said, structure
from harness.failures import reason_of
from quartet.agents.v1 import contents_pb2, list_calls_pb2, messages_pb2, turns_pb2
from quartet.agents.v1 import session_calls_pb2 as session_calls
from quartet.agents.v1 import turn_calls_pb2 as calls

pytestmark = pytest.mark.asyncio(loop_scope="session")


def everything() -> contents_pb2.TurnContents:
    """Return a turn with something of all kinds."""
    asked = said("look at /a", id="m1", source=messages_pb2.MESSAGE_SOURCE_HUMAN, context=structure(open=["/a"]))
    asked.files.add(kind=messages_pb2.FILE_KIND_READ, file_path="/a", line_start=1, line_end=9)
    asked.files.add(kind=messages_pb2.FILE_KIND_READ, file_path="/a", line_start=1)  # the same file again
    asked.lints.add(file_path="/a", message="unused", severity="warning", start_line=3)
    answered = said("```py\nx\n```", ASSISTANT, id="m2", thinking="hm", metadata=structure(n=1))
    answered.codeblocks.add(language="py", content="x")
    answered.codeblocks.add(content="y")
    call = messages_pb2.ToolCall(id="c1", message_id="m2", tool_name="cat", params=structure(path="/a"))
    call.result.string_value = "text"
    return contents_pb2.TurnContents(
        turn=turns_pb2.Turn(
            id="t1", model="claude", input_tokens=10, output_tokens=5, tools_available=["cat"], source_event_id="e"
        ),
        thread=turns_pb2.Thread(system_prompt_hash="h", thread_key="k"),
        messages=[asked, answered],
        tool_calls=[call, messages_pb2.ToolCall(tool_name="ls", error="no")],
    )


async def test_a_turn_is_read_as_it_was_appended(ledger: Ledger) -> None:
    await ledger.session("mom", persona_id="atlas")
    given = everything()
    answer = await ledger.append(contents=given)
    whole = await ledger.calls.GetTurn(calls.GetTurnRequest(id="t1"))
    assert whole.turn == answer.turn
    assert whole.thread == answer.thread
    turn, thread = whole.turn, whole.thread
    assert (turn.status, turn.total_tokens, turn.tool_call_count) == (turns_pb2.TURN_STATUS_COMPLETED, 15, 2)
    assert (list(turn.query_message_ids), turn.response_message_id) == (["m1"], "m2")
    assert (thread.depth, thread.total_tokens, thread.persona_id, thread.thread_key) == (0, 15, "atlas", "k")
    assert [one.message.id for one in whole.messages] == ["m1", "m2"] == list(answer.message_ids)
    assert [one.message.sequence for one in whole.messages] == [1, 2]
    assert [(file.file_path, file.line_end) for file in whole.messages[0].files] == [("/a", 9)]
    context: Any = whole.messages[0].message.context
    assert [lint.message for lint in whole.messages[0].lints] == ["unused"]
    assert [(block.idx, block.content) for block in whole.messages[1].codeblocks] == [(0, "x"), (1, "y")]
    assert (list(context["open"]), whole.messages[1].message.thinking) == (["/a"], "hm")
    first, second = whole.tool_calls
    assert (first.result.string_value, first.params["path"], first.sequence) == ("text", "/a", 1)
    assert (first.status, second.status) == (
        messages_pb2.TOOL_CALL_STATUS_COMPLETED,
        messages_pb2.TOOL_CALL_STATUS_FAILED,
    )
    assert not whole.truncated


async def test_turns_stand_below_each_other_and_their_tokens_add_up(ledger: Ledger) -> None:
    await ledger.session()
    ids: list[str] = []
    for depth in range(130):  # more than two segments of a way
        answer = await ledger.append(contents=exchange(total_tokens=depth))
        assert answer.thread.depth == depth
        assert answer.turn.parent_turn_id == (ids[-1] if ids else "")
        assert (
            list(answer.thread.ancestry) == ids[(depth - 1) // 64 * 64 : depth] if depth else not answer.thread.ancestry
        )
        ids.append(answer.turn.id)
    found, token = [], ""
    while True:
        request = calls.GetThreadRequest(session_label="mom", page_size=50, page_token=token)
        page = await ledger.calls.GetThread(request)
        assert (page.length, page.total_tokens, page.turn_id) == (130, sum(range(130)), ids[-1])
        found += [one.turn.id for one in page.turns]
        token = page.next_page_token
        if not token:
            break
    assert found == ids
    page = await ledger.calls.GetThread(calls.GetThreadRequest(turn_id=ids[70], page_size=1000))
    assert [one.turn.id for one in page.turns] == ids[:71]


async def test_pages_of_a_way_stay_on_it_though_the_session_moves(ledger: Ledger) -> None:
    await ledger.session()
    ids = [(await ledger.append()).turn.id for _ in range(4)]
    request = calls.GetThreadRequest(session_label="mom", page_size=3)
    page = await ledger.calls.GetThread(request)
    await ledger.append(contents=exchange(parent_turn_id=ids[0]))
    request.page_token = page.next_page_token
    rest = await ledger.calls.GetThread(request)
    assert [one.turn.id for one in (*page.turns, *rest.turns)] == ids
    request.contents = True
    with pytest.raises(aio.AioRpcError) as error:
        await ledger.calls.GetThread(request)
    assert reason_of(error.value) == "PAGE_TOKEN_INVALID"


async def test_of_appenders_that_compare_one_head_exactly_one_wins(ledger: Ledger) -> None:
    await ledger.session()
    head = (await ledger.append()).turn.id
    attempts = [ledger.append(expected_head=head) for _ in range(8)]
    done = await asyncio.gather(*attempts, return_exceptions=True)
    won = [one for one in done if isinstance(one, calls.AppendTurnResponse)]
    lost = [one for one in done if isinstance(one, aio.AioRpcError)]
    assert (len(won), {reason_of(one) for one in lost}) == (1, {"HEAD_MOVED"})
    assert await ledger.head() == won[0].turn.id
    children = await ledger.calls.ListTurns(list_calls_pb2.ListTurnsRequest(parent_turn_id=head))
    assert len(children.turns) == 1


async def test_appenders_that_do_not_compare_follow_each_other(ledger: Ledger) -> None:
    await ledger.session()
    done = await asyncio.gather(*(ledger.append() for _ in range(8)))
    assert sorted(one.thread.depth for one in done) == list(range(8))
    assert sorted(one.move.id for one in done) == list(range(1, 9))


async def test_a_repeated_request_gets_the_first_answer_and_appends_nothing(ledger: Ledger) -> None:
    await ledger.session()
    first = await ledger.append(request_id="r")
    assert await ledger.append(request_id="r") == first
    assert await ledger.head() == first.turn.id
    with pytest.raises(aio.AioRpcError) as error:
        await ledger.append(contents=exchange("other"), request_id="r")
    assert reason_of(error.value) == "REQUEST_ID_REUSED"


async def test_a_turn_that_cannot_be_written_leaves_nothing(ledger: Ledger) -> None:
    await ledger.session()
    head = (await ledger.append(contents=everything())).turn.id
    broken = exchange(id="t2")
    broken.messages[1].message.id = "m1"  # that of another turn
    with pytest.raises(aio.AioRpcError) as error:
        await ledger.append(contents=broken)
    assert reason_of(error.value) == "RECORD_EXISTS"
    assert await ledger.head() == head
    whole = await ledger.calls.GetTurn(calls.GetTurnRequest(id=head))
    assert not whole.turn.has_children
    with pytest.raises(aio.AioRpcError) as error:
        await ledger.calls.GetTurn(calls.GetTurnRequest(id="t2"))
    assert reason_of(error.value) == "TURN_NOT_FOUND"


async def test_a_turn_may_begin_a_tree_of_its_own(ledger: Ledger) -> None:
    await ledger.session()
    await ledger.append()
    root = await ledger.append(contents=exchange(parent_turn_id=""))
    assert (root.thread.depth, root.turn.HasField("parent_turn_id")) == (0, False)


async def test_what_is_too_much_for_one_answer_is_cut_and_read_in_pages(ledger: Ledger) -> None:
    await ledger.session()
    large = contents_pb2.TurnContents(messages=[said(f"{n}" * 900_000) for n in range(3)])
    ids = list((await ledger.append(contents=large)).message_ids)
    more = messages_pb2.ToolCall(tool_name="x", params=structure(text="y" * 900_000))
    turn = (await ledger.append(contents=contents_pb2.TurnContents(tool_calls=[more]))).turn
    whole = await ledger.calls.GetTurn(calls.GetTurnRequest(id=turn.parent_turn_id))
    assert whole.truncated
    assert [one.message.id for one in whole.messages] == ids[: len(whole.messages)]
    found, token = [], ""
    while True:
        request = list_calls_pb2.ListMessagesRequest(turn_id=turn.parent_turn_id, page_token=token)
        page = await ledger.calls.ListMessages(request)
        found += [one.message.id for one in page.messages]
        token = page.next_page_token
        if not token:
            break
    assert found == ids
    done = await ledger.calls.ListToolCalls(list_calls_pb2.ListToolCallsRequest(turn_id=turn.id, page_size=1))
    assert (len(done.tool_calls), done.next_page_token) == (1, "")


async def test_files_of_messages_are_found_by_their_path(ledger: Ledger) -> None:
    await ledger.session()
    await ledger.append(contents=everything())
    found = await ledger.calls.ListMessageFiles(list_calls_pb2.ListMessageFilesRequest(file_path="/a"))
    assert [file.message_id for file in found.message_files] == ["m1"]
    message = await ledger.calls.GetMessage(list_calls_pb2.GetMessageRequest(id="m1"))
    assert [file.file_path for file in message.files] == ["/a"]
    assert (await ledger.calls.GetToolCall(list_calls_pb2.GetToolCallRequest(id="c1"))).tool_name == "cat"


def changed(**fields: object) -> contents_pb2.TurnContents:
    """Return a turn with fields that are wrong."""
    made = exchange()
    made.MergeFrom(contents_pb2.TurnContents(**fields))  # type: ignore[arg-type]
    return made


@pytest.mark.parametrize(
    ("contents", "reason"),
    [
        (exchange(parent_turn_id="gone"), "TURN_NOT_FOUND"),
        (exchange(input_tokens=-1), "FIELD_INVALID"),
        (exchange(total_tokens=1 << 62), "FIELD_INVALID"),
        (exchange(status=turns_pb2.TURN_STATUS_PENDING), "FIELD_INVALID"),
        (exchange(turn_type=turns_pb2.TURN_TYPE_COMPACTION), "FIELD_INVALID"),
        (exchange(id="x" * 513), "FIELD_INVALID"),
        (exchange(id="a\x00b"), "FIELD_INVALID"),
        (exchange(workspace_path="w" * 140_000), "FIELD_INVALID"),
        (exchange("x" * (1 << 20)), "FIELD_INVALID"),
        (changed(compaction=turns_pb2.Compaction(summary="s")), "FIELD_INVALID"),
        (changed(messages=[contents_pb2.MessageContents()]), "FIELD_INVALID"),
        (changed(messages=[said("x")] * 1000), "FIELD_INVALID"),
        (changed(tool_calls=[messages_pb2.ToolCall()]), "FIELD_INVALID"),
        (changed(tool_calls=[messages_pb2.ToolCall(tool_name="x", message_id="gone")]), "FIELD_INVALID"),
        (
            changed(tool_calls=[messages_pb2.ToolCall(tool_name="x", status=messages_pb2.TOOL_CALL_STATUS_RUNNING)]),
            "FIELD_INVALID",
        ),
    ],
)
async def test_a_turn_that_is_wrong_has_its_reason_and_the_session_stays_where_it_is(
    ledger: Ledger, contents: contents_pb2.TurnContents, reason: str
) -> None:
    await ledger.session()
    with pytest.raises(aio.AioRpcError) as error:
        await ledger.append(contents=contents)
    assert reason_of(error.value) == reason
    assert await ledger.head() == ""


async def test_a_way_is_asked_for_by_a_turn_or_by_a_session(ledger: Ledger) -> None:
    await ledger.session()
    for request, reason in (
        (calls.GetThreadRequest(), "FIELD_INVALID"),
        (calls.GetThreadRequest(turn_id="t", session_label="mom"), "FIELD_INVALID"),
        (calls.GetThreadRequest(turn_id="t", page_size=-1), "FIELD_INVALID"),
        (calls.GetThreadRequest(turn_id="gone"), "TURN_NOT_FOUND"),
        (calls.GetThreadRequest(session_label="mom"), "TURN_NOT_FOUND"),
        (calls.GetThreadRequest(session_label="gone"), "SESSION_NOT_FOUND"),
        (calls.GetThreadRequest(session_label="mom", page_token="AAAA"), "PAGE_TOKEN_INVALID"),
    ):
        with pytest.raises(aio.AioRpcError) as error:
            await ledger.calls.GetThread(request)
        assert reason_of(error.value) == reason


async def test_the_history_of_the_zone_has_every_session(ledger: Ledger) -> None:
    for label in ("a", "b"):
        await ledger.session(label)
        await ledger.append(label)
    moves = await ledger.calls.ListSessionHistory(session_calls.ListSessionHistoryRequest(page_size=1))
    assert [(move.id, move.session_label) for move in moves.session_history] == [(1, "a")]
    assert moves.next_page_token


async def test_what_a_tool_answers_is_any_value_that_json_has(ledger: Ledger) -> None:
    await ledger.session()
    values: list[Any] = [None, True, 0, -1.5, "", "é\n", [], [1, "x", None], {}, {"a": {"b": [False]}}]
    given = contents_pb2.TurnContents()
    for value in values:
        given.tool_calls.add(tool_name="x").result.CopyFrom(structure(v=value).fields["v"])
    silent = given.tool_calls.add(tool_name="x")
    turn = (await ledger.append(contents=given)).turn.id
    whole = await ledger.calls.GetTurn(calls.GetTurnRequest(id=turn))
    assert [call.result for call in whole.tool_calls[:-1]] == [call.result for call in given.tool_calls[:-1]]
    assert silent.HasField("result") is whole.tool_calls[-1].HasField("result") is False
