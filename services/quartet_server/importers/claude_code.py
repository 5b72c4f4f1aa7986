"""Session logs of Claude Code: `~/.claude/projects/PROJECT/SESSION.jsonl`, and those of its sub-agents."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from quartet_server.importers.claude_lines import Line, read
from quartet_server.importers.contract import Kind, Options, Reader
from quartet_server.importers.faults import Faults, UnfitError
from quartet_server.importers.files import found, sniffed
from quartet_server.importers.items import Called, Direction, Event, Item, Party, Said, Session, Turn, Used
from quartet_server.importers.logs import LogReader
from quartet_server.importers.sessions import Book
from quartet_server.importers.text import CONTENT, NAME, clean, cut, fit, fit_id, kept, name

_WHAT = "the projects of Claude Code, as ~/.claude/projects, or one session's .jsonl file"
_SOURCE = "claude-code"
_AGENTS = 1000
_SAID = 700 << 10
"""Bytes of a message in the agents ledger."""
_RESULT = 256 << 10
_SHOWN = 80
_TYPES = {
    "user",
    "assistant",
    "system",
    "summary",
    "file-history-snapshot",
    "queue-operation",
    "progress",
    "last-prompt",
    "mode",
}


def readers(path: Path, options: Options, faults: Faults) -> Iterator[Reader]:
    """Return a reader for each session log."""
    path = path / "projects" if (path / "projects").is_dir() else path
    for file in sniffed(found(path, lambda one: one.endswith(".jsonl"), _WHAT), looks, _WHAT, faults):
        yield ClaudeLog(file, options, faults)


def looks(value: Any) -> bool:
    """Tell whether a line may be one of Claude Code's."""
    if not isinstance(value, dict) or not isinstance(value.get("type"), str):
        return False
    return value["type"] in _TYPES or "sessionId" in value


class ClaudeLog(LogReader):
    """Reads the log of a session: its own turns, and those of sub-agents that older versions kept in the same file."""

    def __init__(self, path: Path, options: Options, faults: Faults) -> None:
        """Read `path`."""
        super().__init__(_SOURCE, path, faults)
        self._me = next(iter(sorted(options.me)), "user")
        self._books: dict[str, Book] = {}
        self._turn_of: dict[str, str] = {}
        self._agent_of: dict[str, str] = {}
        self._used: dict[str, tuple[str, Used]] = {}
        self._boundary: dict[str, Any] = {}
        self._title = ""
        self._latest: int | None = None

    def _line(self, value: Any, number: int) -> Iterator[Item]:
        line = read(value, self._latest)
        if line is None:
            self._faults.skip()
            self._title = clean(value.get("customTitle") or value.get("aiTitle"))[:300] or self._title
            return
        self._latest = line.at
        agent = self._agent(line)
        book = self._book(line, agent)
        if line.role == "system":
            self._system(book, line)
            return
        turn = self._turn(book, line)
        self._turn_of[line.uuid] = turn
        if line.summary:
            if not book.turn(turn).compaction:
                book.say(turn, self._said(line, "system", line.text))
            yield self._event(line, book, turn, "compaction", "observed", _SOURCE, line.text)
        elif line.role == "user":
            yield from self._user(book, line, turn, agent)
        else:
            yield from self._assistant(book, line, turn, agent)
        if book.full():
            yield book.part()

    def _end(self, fingerprint: str) -> Iterator[Item]:
        for book in self._books.values():
            if (session := book.end(fingerprint)) is not None:
                yield session

    def _agent(self, line: Line) -> str:
        """Return which sub-agent a line is of; empty for the session's own lines."""
        if not line.sidechain:
            return ""
        agent = line.agent or self._agent_of.get(line.parent) or line.uuid
        self._agent_of[line.uuid] = agent
        return agent

    def _book(self, line: Line, agent: str) -> Book:
        if agent not in self._books:
            if len(self._books) >= _AGENTS:
                raise UnfitError(f"the file has more than {_AGENTS:,} sub-agents")
            session = fit_id(line.session or self._path.stem)
            parent = f"{_SOURCE}:{session}" if agent else ""
            self._books[agent] = Book(
                Session(
                    origin=_SOURCE,
                    id=fit_id(f"{session}:{agent}") if agent else session,
                    provider="anthropic",
                    created_at=line.at,
                    updated_at=line.at,
                    parent=parent,
                    task=clean(line.text)[:1000] if agent else "",
                )
            )
        return self._books[agent]

    def _turn(self, book: Book, line: Line) -> str:
        """Return the turn a line belongs to; one in which somebody asks, or that sums up, begins another."""
        parent = self._before(book, line.parent) or (book.head if line.parent else "")
        if not line.asks and not line.summary and parent and not book.crowded(parent):
            return parent
        turn = Turn(
            id=fit_id(f"{_SOURCE}:{line.uuid}"),
            started_at=line.at,
            parent_id=parent,
            workspace=clean(line.cwd),
        )
        if book.knows(turn.id):
            return turn.id
        if line.summary:
            self._compact(book, line, turn)
        book.begin(turn)
        return turn.id

    def _before(self, book: Book, uuid: str) -> str:
        """Return the turn of a line; empty where it is not of this session."""
        turn = self._turn_of.get(uuid, "")
        return turn if book.knows(turn) else ""

    def _compact(self, book: Book, line: Line, turn: Turn) -> None:
        """Make a turn one that sums up those before it; unless they are in another file, so that it begins a tree."""
        turn.parent_id = (
            self._before(book, clean(self._boundary.get("logicalParentUuid"))) or turn.parent_id or book.head
        )
        more = self._boundary.get("compactMetadata")
        more = more if isinstance(more, dict) else {}
        tokens = more.get("preTokens")
        self._boundary = {}
        if turn.parent_id:
            turn.compaction = cut(clean(line.text), {}, _SAID) or "(empty)"
            turn.trigger = clean(more.get("trigger"))
            turn.tokens_before = tokens if isinstance(tokens, int) and 0 <= tokens < 1 << 53 else 0

    def _system(self, book: Book, line: Line) -> None:
        """Note what Claude Code itself says; the place where a conversation was compacted goes on where it was."""
        if line.subtype == "compact_boundary":
            self._boundary = line.value
        logical = clean(line.value.get("logicalParentUuid"))
        turn = self._before(book, line.parent) or self._before(book, logical) or book.head
        if not turn:
            self._faults.skip()
            return
        self._turn_of[line.uuid] = turn
        if line.text and line.subtype != "compact_boundary":
            book.say(turn, self._said(line, "system", line.text))

    def _user(self, book: Book, line: Line, turn: str, agent: str) -> Iterator[Event]:
        if line.asks:
            text = line.shown
            if not self._title and not agent and text:
                self._title = text.split("\n", 1)[0][:_SHOWN]
            direction: Direction = "observed" if agent else "outbound"
            who = f"agent:{book.label}" if agent else self._me
            if text or line.attachments:
                event = self._event(line, book, turn, "message", direction, who, text)
                event.attachments = line.attachments
                event.to = [Party(_SOURCE, "assistant")]
                yield event
            book.say(turn, self._said(line, "user", line.text, source="agent" if agent else "human"))
        elif line.text:
            book.say(turn, self._said(line, "system" if line.meta else "user", line.text))
        for result in line.results:
            of = book.answer(
                fit_id(f"{_SOURCE}:{result.call}"), cut(result.text, {}, _RESULT), line.at, failed=result.failed
            )
            event = self._event(line, book, of or turn, "tool_result", "observed", "tool", result.text, _RESULT)
            event.source_id = fit_id(f"{result.call}:result")
            event.reply_to = f"{_SOURCE}:{fit_id(result.call)}"
            event.metadata |= kept({"failed": result.failed})
            yield event

    def _assistant(self, book: Book, line: Line, turn: str, agent: str) -> Iterator[Event]:
        direction: Direction = "observed" if agent else "inbound"
        opened = book.turn(turn)
        opened.model = name(line.model) or opened.model
        self._count(opened, line)
        if line.text or line.thinking:
            said = self._said(line, "assistant", line.text)
            said.thinking = cut(clean(line.thinking), said.metadata, _SAID - len(said.content.encode()))
            book.say(turn, said)
        if line.text:
            event = self._event(line, book, turn, "message", direction, name(line.model) or "assistant", line.text)
            event.to = [] if agent else [Party(_SOURCE, self._me)]
            if turn.removeprefix(f"{_SOURCE}:") != line.uuid:
                event.reply_to = turn  # turns have the id of the event with which they begin
            yield event
        for call in line.calls:
            params = fit(call.params, longest=_RESULT)
            book.call(
                turn,
                Called(
                    id=fit_id(f"{_SOURCE}:{call.id}"),
                    tool_name=name(call.name) or "unknown",
                    params=params if isinstance(params, dict) else {"value": params},
                    started_at=line.at,
                    message_id=fit_id(f"{_SOURCE}:{line.uuid}") if line.text or line.thinking else "",
                ),
            )
            event = self._event(
                line, book, turn, "tool_invocation", "observed", name(line.model) or "assistant", call.shown
            )
            event.source_id = fit_id(call.id)
            event.metadata |= {"tool": name(call.name)}
            yield event

    def _count(self, turn: Turn, line: Line) -> None:
        """Count the tokens of an answer once, though each of its blocks is a line that has them."""
        if line.used is None or not line.message_id:
            return
        known, before = self._used.get(turn.id, ("", Used()))
        if known != line.message_id:
            before = Used()
        for key in ("input", "output", "cached_input", "cache_write"):
            setattr(turn.used, key, getattr(turn.used, key) + getattr(line.used, key) - getattr(before, key))
        self._used = {turn.id: (line.message_id, line.used)}

    def _said(self, line: Line, role: str, text: str, source: str = "") -> Said:
        metadata = kept({"meta": line.meta, "error": line.error, "subtype": line.subtype})
        content = cut(clean(text), metadata, _SAID)
        return Said(fit_id(f"{_SOURCE}:{line.uuid}"), role, content, line.at, source, metadata=metadata)

    def _event(
        self,
        line: Line,
        book: Book,
        turn: str,
        kind: str,
        direction: Direction,
        who: str,
        text: str,
        longest: int = CONTENT,
    ) -> Event:
        metadata = kept(
            {
                "session_id": line.session,
                "turn_id": turn,
                "model": line.model,
                "cwd": line.cwd,
                "git_branch": line.branch,
                "version": line.version,
                "error": line.error,
                "thread_name": self._title,
            }
        )
        return Event(
            source=_SOURCE,
            source_id=fit_id(line.uuid),
            timestamp=line.at,
            direction=direction,
            type=kind,
            from_channel=_SOURCE,
            from_identifier=who,
            content=cut(clean(text), metadata, longest),
            thread_id=fit_id(book.label, NAME),
            metadata=metadata,
        )


CLAUDE_CODE = Kind("claude-code", _WHAT, readers)
