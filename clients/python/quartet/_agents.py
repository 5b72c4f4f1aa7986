"""The agents ledger, for synchronous callers."""

# ruff: noqa: A002 - a filter is called so in the API

from __future__ import annotations

import uuid
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from typing import Any

from google.protobuf.struct_pb2 import Struct

from quartet._errors import Unavailable
from quartet._ledgers import RESUMPTIONS, Import, WatchPlace, parts
from quartet._retry import Backoff
from quartet._transport import Transport
from quartet.agents.v1 import (
    artifacts_pb2,
    contents_pb2,
    import_calls_pb2,
    imports_pb2,
    list_calls_pb2,
    messages_pb2,
    queue_calls_pb2,
    queue_pb2,
    session_calls_pb2,
    sessions_pb2,
    turn_calls_pb2,
    turns_pb2,
)


def new_request_id() -> str:
    """Draw an id for one logical request."""
    return uuid.uuid4().hex


class Agents:
    """Sessions, turns, queues and artifacts of agents. All methods raise `quartet.CallError`.

    A session is named by its label or an alias. Methods that change something draw a request id, and may be sent again.
    """

    def __init__(self, transport: Transport, new_id: Callable[[], str] = new_request_id) -> None:
        """Call over `transport`."""
        self._transport = transport
        self._new_id = new_id

    def create_session(self, session: sessions_pb2.Session) -> sessions_pb2.Session:
        """Make a session."""
        request = session_calls_pb2.CreateSessionRequest(session=session, request_id=self._new_id())
        return self._transport.call(lambda at: at.agents.CreateSession, request, safe=True)

    def session(self, label: str) -> sessions_pb2.Session:
        """Return a session."""
        request = session_calls_pb2.GetSessionRequest(label=label)
        return self._transport.call(lambda at: at.agents.GetSession, request, safe=True)

    def open_session(
        self, label: str, session: sessions_pb2.Session | None = None
    ) -> session_calls_pb2.OpenSessionResponse:
        """Return a session, made as `session` says if there is none."""
        request = session_calls_pb2.OpenSessionRequest(label=label, session=session, request_id=self._new_id())
        return self._transport.call(lambda at: at.agents.OpenSession, request, safe=True)

    def sessions(self, *, filter: str = "", order_by: str = "", **equal: Any) -> Iterator[sessions_pb2.Session]:
        """Yield sessions; `equal` are fields of ListSessionsRequest, as `persona_id`."""
        request = session_calls_pb2.ListSessionsRequest(filter=filter, order_by=order_by, page_size=1000, **equal)
        while True:
            page = self._transport.call(lambda at: at.agents.ListSessions, request, safe=True)
            yield from page.sessions
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    def update_session(self, session: sessions_pb2.Session, fields: Sequence[str]) -> sessions_pb2.Session:
        """Set `fields` of a session to what `session` says; its etag, if it has one, must be the present one."""
        request = session_calls_pb2.UpdateSessionRequest(session=session, request_id=self._new_id())
        request.update_mask.paths.extend(fields)
        return self._transport.call(lambda at: at.agents.UpdateSession, request, safe=True)

    def move_head(self, label: str, turn_id: str, *, expected_head: str | None = None) -> sessions_pb2.Session:
        """Move a session's pointer to a turn, only if it is at `expected_head` unless that is None."""
        request = session_calls_pb2.MoveHeadRequest(
            session_label=label, turn_id=turn_id, expected_head=expected_head, request_id=self._new_id()
        )
        return self._transport.call(lambda at: at.agents.MoveHead, request, safe=True)

    def fork_session(
        self, label: str = "", *, turn_id: str = "", session: sessions_pb2.Session | None = None
    ) -> sessions_pb2.Session:
        """Make a session that goes on from a turn: `turn_id`, else the head of the session `label`."""
        request = session_calls_pb2.ForkSessionRequest(
            session_label=label, turn_id=turn_id, session=session, request_id=self._new_id()
        )
        return self._transport.call(lambda at: at.agents.ForkSession, request, safe=True)

    def history(self, label: str = "") -> Iterator[sessions_pb2.SessionHistory]:
        """Yield the moves of a session's pointer, of all sessions without a label; the label, not an alias."""
        request = session_calls_pb2.ListSessionHistoryRequest(session_label=label, page_size=1000)
        while True:
            page = self._transport.call(lambda at: at.agents.ListSessionHistory, request, safe=True)
            yield from page.session_history
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    def watch(
        self, label: str, *, after_history_id: int | None = None, after_sequence: int = 0
    ) -> Generator[session_calls_pb2.WatchSessionResponse, None, None]:
        """Yield what happens in a session, from now on or behind a place; when a node fails, another goes on."""
        place = WatchPlace(label, after_history_id, after_sequence)
        backoff, tries = Backoff(), 0
        while True:
            try:
                for event in self._transport.stream(lambda at: at.agents.WatchSession, place.request()):
                    tries, backoff = 0, Backoff()
                    place.told(event)
                    yield event
                return
            except Unavailable as error:
                tries += 1
                if error.reason == "NO_ENDPOINT" or tries > RESUMPTIONS:
                    raise
                self._transport.rest(backoff.after(error))

    def add_alias(
        self, alias: str, label: str, reason: sessions_pb2.AliasReason.ValueType = sessions_pb2.ALIAS_REASON_MANUAL
    ) -> sessions_pb2.SessionAlias:
        """Give a session another name."""
        request = session_calls_pb2.AddAliasRequest(
            alias=alias, session_label=label, reason=reason, request_id=self._new_id()
        )
        return self._transport.call(lambda at: at.agents.AddAlias, request, safe=True)

    def remove_alias(self, alias: str) -> str:
        """Take a name away; return the label of the session that had it."""
        request = session_calls_pb2.RemoveAliasRequest(alias=alias, request_id=self._new_id())
        return self._transport.call(lambda at: at.agents.RemoveAlias, request, safe=True).session_label

    def aliases(self, label: str = "") -> Iterator[sessions_pb2.SessionAlias]:
        """Yield the aliases of a session, of all sessions without a label."""
        request = session_calls_pb2.ListSessionAliasesRequest(session_label=label, page_size=1000)
        while True:
            page = self._transport.call(lambda at: at.agents.ListSessionAliases, request, safe=True)
            yield from page.session_aliases
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    def append_turn(
        self, label: str, contents: contents_pb2.TurnContents, *, expected_head: str | None = None
    ) -> turn_calls_pb2.AppendTurnResponse:
        """Add a turn that is over to a session, only if it is at `expected_head` unless that is None."""
        request = turn_calls_pb2.AppendTurnRequest(
            session_label=label, contents=contents, expected_head=expected_head, request_id=self._new_id()
        )
        return self._transport.call(lambda at: at.agents.AppendTurn, request, safe=True)

    def start_turn(
        self, label: str, contents: contents_pb2.TurnContents, *, expected_head: str | None = None
    ) -> turn_calls_pb2.StartTurnResponse:
        """Add a turn that begins to a session, only if it is at `expected_head` unless that is None."""
        request = turn_calls_pb2.StartTurnRequest(
            session_label=label, contents=contents, expected_head=expected_head, request_id=self._new_id()
        )
        return self._transport.call(lambda at: at.agents.StartTurn, request, safe=True)

    def append_message(self, turn_id: str, contents: contents_pb2.MessageContents) -> contents_pb2.MessageContents:
        """Add a message to a turn that goes on."""
        request = turn_calls_pb2.AppendMessageRequest(turn_id=turn_id, contents=contents, request_id=self._new_id())
        return self._transport.call(lambda at: at.agents.AppendMessage, request, safe=True)

    def record_tool_call(self, tool_call: messages_pb2.ToolCall) -> messages_pb2.ToolCall:
        """Add a tool call to the turn that it names, which goes on."""
        request = turn_calls_pb2.RecordToolCallRequest(tool_call=tool_call, request_id=self._new_id())
        return self._transport.call(lambda at: at.agents.RecordToolCall, request, safe=True)

    def finish_tool_call(self, request: turn_calls_pb2.FinishToolCallRequest) -> messages_pb2.ToolCall:
        """Say how a tool call ended."""
        request.request_id = request.request_id or self._new_id()
        return self._transport.call(lambda at: at.agents.FinishToolCall, request, safe=True)

    def complete_turn(self, turn_id: str, usage: turn_calls_pb2.TurnUsage | None = None) -> turns_pb2.Turn:
        """End a turn."""
        request = turn_calls_pb2.CompleteTurnRequest(turn_id=turn_id, usage=usage, request_id=self._new_id())
        return self._transport.call(lambda at: at.agents.CompleteTurn, request, safe=True)

    def fail_turn(self, turn_id: str, error: str = "", usage: turn_calls_pb2.TurnUsage | None = None) -> turns_pb2.Turn:
        """Give a turn up."""
        request = turn_calls_pb2.FailTurnRequest(turn_id=turn_id, error=error, usage=usage, request_id=self._new_id())
        return self._transport.call(lambda at: at.agents.FailTurn, request, safe=True)

    def compact_session(
        self,
        label: str,
        compaction: turns_pb2.Compaction,
        *,
        turn: turns_pb2.Turn | None = None,
        expected_head: str | None = None,
    ) -> turn_calls_pb2.CompactSessionResponse:
        """Put a summary in the place of what came before in a session."""
        request = turn_calls_pb2.CompactSessionRequest(
            session_label=label,
            compaction=compaction,
            turn=turn,
            expected_head=expected_head,
            request_id=self._new_id(),
        )
        return self._transport.call(lambda at: at.agents.CompactSession, request, safe=True)

    def turn(self, turn_id: str) -> contents_pb2.TurnContents:
        """Return a turn with everything."""
        return self._transport.call(lambda at: at.agents.GetTurn, turn_calls_pb2.GetTurnRequest(id=turn_id), safe=True)

    def thread(
        self, label: str = "", *, turn_id: str = "", contents: bool = False
    ) -> Iterator[contents_pb2.TurnContents]:
        """Yield the turns from the root to a turn: `turn_id`, else the head of the session `label`."""
        request = turn_calls_pb2.GetThreadRequest(
            session_label=label, turn_id=turn_id, contents=contents, page_size=1000
        )
        while True:
            page = self._transport.call(lambda at: at.agents.GetThread, request, safe=True)
            yield from page.turns
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    def context(self, label: str) -> tuple[turns_pb2.Compaction | None, list[contents_pb2.TurnContents]]:
        """Return what a session's agent has to know: the last summary, if there is one, and the turns since."""
        request = turn_calls_pb2.GetContextRequest(session_label=label, page_size=1000)
        turns: list[contents_pb2.TurnContents] = []
        while True:
            page = self._transport.call(lambda at: at.agents.GetContext, request, safe=True)
            turns += page.turns
            if not page.next_page_token:
                return page.compaction if page.HasField("compaction") else None, turns
            request.page_token = page.next_page_token

    def turns(self, *, filter: str = "", order_by: str = "", **equal: Any) -> Iterator[turns_pb2.Turn]:
        """Yield turns; `equal` are fields of ListTurnsRequest, as `parent_turn_id`."""
        request = list_calls_pb2.ListTurnsRequest(filter=filter, order_by=order_by, page_size=1000, **equal)
        while True:
            page = self._transport.call(lambda at: at.agents.ListTurns, request, safe=True)
            yield from page.turns
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    def messages(self, turn_id: str) -> Iterator[contents_pb2.MessageContents]:
        """Yield the messages of a turn, in order."""
        request = list_calls_pb2.ListMessagesRequest(turn_id=turn_id, page_size=1000)
        while True:
            page = self._transport.call(lambda at: at.agents.ListMessages, request, safe=True)
            yield from page.messages
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    def tool_calls(self, turn_id: str) -> Iterator[messages_pb2.ToolCall]:
        """Yield the tool calls of a turn, in order."""
        request = list_calls_pb2.ListToolCallsRequest(turn_id=turn_id, page_size=1000)
        while True:
            page = self._transport.call(lambda at: at.agents.ListToolCalls, request, safe=True)
            yield from page.tool_calls
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    def enqueue(
        self,
        label: str,
        message: Mapping[str, Any],
        mode: queue_pb2.QueueMode.ValueType = queue_pb2.QUEUE_MODE_UNSPECIFIED,
    ) -> queue_calls_pb2.EnqueueResponse:
        """Put a message into a session's queue."""
        wrapped = Struct()
        wrapped.update(message)
        request = queue_calls_pb2.EnqueueRequest(
            session_label=label, message=wrapped, mode=mode, request_id=self._new_id()
        )
        return self._transport.call(lambda at: at.agents.Enqueue, request, safe=True)

    def claim(self, label: str, max_items: int = 0) -> queue_calls_pb2.ClaimQueueItemsResponse:
        """Take what is due in a session's queue."""
        request = queue_calls_pb2.ClaimQueueItemsRequest(
            session_label=label, max_items=max_items, request_id=self._new_id()
        )
        return self._transport.call(lambda at: at.agents.ClaimQueueItems, request, safe=True)

    def deliver(self, item_id: str) -> queue_pb2.QueueItem:
        """Say that the agent has an item that was claimed."""
        request = queue_calls_pb2.DeliverQueueItemRequest(id=item_id, request_id=self._new_id())
        return self._transport.call(lambda at: at.agents.DeliverQueueItem, request, safe=True)

    def fail_item(self, item_id: str, error: str) -> queue_pb2.QueueItem:
        """Give an item of a queue up."""
        request = queue_calls_pb2.FailQueueItemRequest(id=item_id, error=error, request_id=self._new_id())
        return self._transport.call(lambda at: at.agents.FailQueueItem, request, safe=True)

    def queue(self, label: str = "", **equal: Any) -> Iterator[queue_pb2.QueueItem]:
        """Yield items of a session's queue; `equal` are fields of ListQueueItemsRequest, as `status`."""
        request = queue_calls_pb2.ListQueueItemsRequest(session_label=label, page_size=1000, **equal)
        while True:
            page = self._transport.call(lambda at: at.agents.ListQueueItems, request, safe=True)
            yield from page.queue_items
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    def queue_settings(self, label: str) -> queue_pb2.QueueSettings:
        """Return how a session's queue behaves."""
        request = queue_calls_pb2.GetQueueSettingsRequest(session_label=label)
        return self._transport.call(lambda at: at.agents.GetQueueSettings, request, safe=True)

    def set_queue_settings(
        self, settings: queue_pb2.QueueSettings, fields: Sequence[str] = ()
    ) -> queue_pb2.QueueSettings:
        """Say how a session's queue shall behave: all of it, or `fields` alone."""
        request = queue_calls_pb2.UpdateQueueSettingsRequest(queue_settings=settings, request_id=self._new_id())
        request.update_mask.paths.extend(fields)
        return self._transport.call(lambda at: at.agents.UpdateQueueSettings, request, safe=True)

    def put_artifact(
        self, artifact: artifacts_pb2.Artifact, *, tool_call_id: str = "", kind: str = ""
    ) -> artifacts_pb2.Artifact:
        """Tell of an artifact, and of the tool call that made it."""
        request = queue_calls_pb2.PutArtifactRequest(
            artifact=artifact, tool_call_id=tool_call_id, kind=kind, request_id=self._new_id()
        )
        return self._transport.call(lambda at: at.agents.PutArtifact, request, safe=True)

    def link_artifact(self, tool_call_id: str, artifact_id: str, kind: str = "") -> artifacts_pb2.ToolCallArtifact:
        """Say that a tool call made, or used, an artifact."""
        request = queue_calls_pb2.LinkArtifactRequest(
            tool_call_id=tool_call_id, artifact_id=artifact_id, kind=kind, request_id=self._new_id()
        )
        return self._transport.call(lambda at: at.agents.LinkArtifact, request, safe=True)

    def artifacts(self, **equal: Any) -> Iterator[artifacts_pb2.Artifact]:
        """Yield artifacts; `equal` are fields of ListArtifactsRequest, as `kind`."""
        request = queue_calls_pb2.ListArtifactsRequest(page_size=1000, **equal)
        while True:
            page = self._transport.call(lambda at: at.agents.ListArtifacts, request, safe=True)
            yield from page.artifacts
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    def import_sessions(
        self, items: Sequence[import_calls_pb2.ImportItem], run: Import, key: str, *, timeout: float | None = None
    ) -> import_calls_pb2.ImportSessionsResponse:
        """Import sessions of another program, at most 256 and 4 MiB at once; `key` names this import for ever."""
        request = run.request(items, key)
        return self._transport.call(lambda at: at.agents.ImportSessions, request, safe=True, timeout=timeout)

    def import_session(
        self, item: import_calls_pb2.ImportItem, run: Import, key: str, *, timeout: float | None = None
    ) -> import_calls_pb2.ImportSessionsResponse:
        """Import one session of another program, however large: in parts; `key` names this import for ever."""
        answer = import_calls_pb2.ImportSessionChunkResponse()
        for part in parts(item, run, key):
            request = part
            answer = self._transport.call(lambda at: at.agents.ImportSessionChunk, request, safe=True, timeout=timeout)
        return answer.result

    def imports(self, **equal: Any) -> Iterator[imports_pb2.SessionImport]:
        """Yield what was imported; `equal` are fields of ListSessionImportsRequest, as `source_provider`."""
        request = list_calls_pb2.ListSessionImportsRequest(page_size=1000, **equal)
        while True:
            page = self._transport.call(lambda at: at.agents.ListSessionImports, request, safe=True)
            yield from page.session_imports
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token
