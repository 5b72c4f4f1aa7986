"""The agents ledger through both clients, against a node in this process."""

from __future__ import annotations

import pytest
from harness.conversations import ASSISTANT, exchange, said
from quartet import AsyncClient, Client, Conflict, NotFound
from quartet._ledgers import Import
from quartet.agents.v1 import (
    artifacts_pb2,
    contents_pb2,
    import_calls_pb2,
    messages_pb2,
    queue_pb2,
    session_calls_pb2,
    sessions_pb2,
    turn_calls_pb2,
    turns_pb2,
)

FOREIGN = import_calls_pb2.ImportItem(
    source_provider="codex",
    source_session_id="s",
    source_session_fingerprint="1",
    turns=[contents_pb2.TurnContents(turn=turns_pb2.Turn(id="foreign"), messages=[said("x", id="m")])],
)
RUN = Import("quartet")


def test_the_client_keeps_sessions_turns_queues_and_imports() -> None:
    with Client(":memory:") as client:
        agents = client.agents
        agents.create_session(sessions_pb2.Session(label="mom"))
        assert agents.open_session("dad", sessions_pb2.Session(persona_id="atlas")).created
        first = agents.append_turn("mom", exchange(), expected_head="").turn.id
        with pytest.raises(Conflict):
            agents.append_turn("mom", exchange(), expected_head="")
        begun = agents.start_turn("mom", contents_pb2.TurnContents(messages=[said("why?")]), expected_head=first)
        turn = begun.turn.id
        call = agents.record_tool_call(messages_pb2.ToolCall(turn_id=turn, tool_name="ls"))
        agents.finish_tool_call(turn_calls_pb2.FinishToolCallRequest(tool_call_id=call.id))
        agents.append_message(turn, said("so", ASSISTANT))
        assert agents.complete_turn(turn, turn_calls_pb2.TurnUsage(total_tokens=3)).total_tokens == 3
        assert [one.message.content for one in agents.messages(turn)] == ["why?", "so"]
        assert [one.id for one in agents.tool_calls(turn)] == [call.id]
        assert [one.turn.id for one in agents.thread("mom")] == [first, turn]
        assert len(agents.turn(turn).messages) == 2
        assert {one.id for one in agents.turns()} == {first, turn}
        fork = agents.fork_session("mom", turn_id=first)
        assert agents.fail_turn(agents.start_turn(fork.label, exchange()).turn.id, "no").id
        assert agents.move_head("mom", first, expected_head=turn).thread_id == first
        assert [one.thread_id for one in agents.history("mom")] == [first, turn, first]
        agents.move_head("mom", turn)
        agents.compact_session("mom", turns_pb2.Compaction(summary="s", model="m"))
        compaction, turns = agents.context("mom")
        assert compaction is not None
        assert (compaction.summary, turns) == ("s", [])
        agents.add_alias("mum", "mom")
        assert [one.alias for one in agents.aliases("mom")] == ["mum"]
        assert agents.remove_alias("mum") == "mom"
        with pytest.raises(NotFound):
            agents.session("mum")
        changed = agents.update_session(sessions_pb2.Session(label="dad", persona_id="main"), ["persona_id"])
        assert changed in list(agents.sessions(persona_id="main"))
        watch = agents.watch("mom", after_history_id=0)
        kinds = [next(watch).type for _ in range(2)]
        watch.close()
        assert kinds == [session_calls_pb2.SESSION_EVENT_TYPE_SESSION, session_calls_pb2.SESSION_EVENT_TYPE_HEAD_MOVED]
        assert agents.queue_settings("mom").cap == 20
        agents.set_queue_settings(queue_pb2.QueueSettings(session_label="mom", cap=2), ["cap"])
        for text in "ab":
            agents.enqueue("mom", {"text": text}, queue_pb2.QUEUE_MODE_FOLLOWUP)
        assert agents.deliver(agents.claim("mom").items[0].id).status == queue_pb2.QUEUE_STATUS_DELIVERED
        assert agents.fail_item(agents.claim("mom").items[0].id, "no").error == "no"
        assert len(list(agents.queue("mom"))) == 2
        told = artifacts_pb2.Artifact(id="a", kind="log", host_path="/h", agent_path="/a")
        agents.put_artifact(told)
        assert agents.link_artifact(call.id, "a").kind == "output"
        assert [one.id for one in agents.artifacts(kind="log")] == ["a"]
        assert agents.import_sessions([FOREIGN], RUN, "k").imported == 1
        assert agents.import_session(FOREIGN, RUN, "l").skipped == 1
        assert [one.session_label for one in agents.imports()] == ["codex:s"]


async def test_the_asynchronous_client_does_the_same() -> None:
    async with AsyncClient(":memory:") as client:
        agents = client.agents
        await agents.create_session(sessions_pb2.Session(label="mom"))
        assert not (await agents.open_session("mom")).created
        first = (await agents.append_turn("mom", exchange())).turn.id
        turn = (await agents.start_turn("mom", contents_pb2.TurnContents(messages=[said("why?")]))).turn.id
        call = await agents.record_tool_call(messages_pb2.ToolCall(turn_id=turn, tool_name="ls"))
        await agents.finish_tool_call(turn_calls_pb2.FinishToolCallRequest(tool_call_id=call.id))
        await agents.append_message(turn, said("so", ASSISTANT))
        await agents.complete_turn(turn)
        assert [one.message.content async for one in agents.messages(turn)] == ["why?", "so"]
        assert [one.id async for one in agents.tool_calls(turn)] == [call.id]
        assert [one.turn.id async for one in agents.thread("mom")] == [first, turn]
        assert len((await agents.turn(turn)).messages) == 2
        assert {one.id async for one in agents.turns()} == {first, turn}
        fork = await agents.fork_session("mom", turn_id=first)
        assert (await agents.fail_turn((await agents.start_turn(fork.label, exchange())).turn.id)).id
        await agents.compact_session("mom", turns_pb2.Compaction(summary="s", model="m"))
        compaction, turns = await agents.context("mom")
        assert (compaction is not None, turns) == (True, [])
        assert (await agents.move_head("mom", first)).thread_id == first
        assert len([one async for one in agents.history("mom")]) == 4
        await agents.add_alias("mum", "mom")
        assert (await agents.session("mum")).label == "mom"
        assert [one.alias async for one in agents.aliases()] == ["mum"]
        assert await agents.remove_alias("mum") == "mom"
        await agents.update_session(sessions_pb2.Session(label="mom", persona_id="atlas"), ["persona_id"])
        assert [one.label async for one in agents.sessions(persona_id="atlas")] == ["mom"]
        async for event in agents.watch("mom", after_history_id=0):
            assert event.type == session_calls_pb2.SESSION_EVENT_TYPE_SESSION
            break
        await agents.set_queue_settings(queue_pb2.QueueSettings(session_label="mom", cap=2), ["cap"])
        assert (await agents.queue_settings("mom")).cap == 2
        for text in "ab":
            await agents.enqueue("mom", {"text": text}, queue_pb2.QUEUE_MODE_FOLLOWUP)
        await agents.deliver((await agents.claim("mom")).items[0].id)
        await agents.fail_item((await agents.claim("mom")).items[0].id, "no")
        assert len([one async for one in agents.queue("mom")]) == 2
        await agents.put_artifact(artifacts_pb2.Artifact(id="a", kind="log", host_path="/h", agent_path="/a"))
        await agents.link_artifact(call.id, "a")
        assert [one.id async for one in agents.artifacts()] == ["a"]
        assert (await agents.import_session(FOREIGN, RUN, "k")).imported == 1
        assert (await agents.import_sessions([FOREIGN], RUN, "l")).skipped == 1
        assert [one.session_label async for one in agents.imports()] == ["codex:s"]
