"""Session logs of Codex: `~/.codex/sessions/YYYY/MM/DD/rollout-….jsonl`, also compressed (`.zst`), also of older versions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from quartet_server.importers.codex_lines import Entry, read
from quartet_server.importers.contract import Kind, Options, Reader
from quartet_server.importers.faults import Faults, UnfitError
from quartet_server.importers.files import found, sniffed
from quartet_server.importers.items import Called, Direction, Event, Item, Party, Said, Session, Turn
from quartet_server.importers.logs import LogReader
from quartet_server.importers.sessions import Book
from quartet_server.importers.text import CONTENT, NAME, clean, cut, fit, fit_id, kept, name

_WHAT = "the sessions of Codex, as ~/.codex or ~/.codex/sessions, or one rollout-….jsonl file"
_SOURCE = "codex"
_SAID = 700 << 10
"""Bytes of a message in the agents ledger."""
_RESULT = 256 << 10
_SHOWN = 80
_TYPES = {"session_meta", "response_item", "event_msg", "turn_context", "compacted"}
_OLD = {"message", "reasoning", "function_call", "function_call_output", "local_shell_call", "custom_tool_call"}


def readers(path: Path, options: Options, faults: Faults) -> Iterator[Reader]:
    """Return a reader for each session log."""
    roots = [path / one for one in ("sessions", "archived_sessions") if (path / one).is_dir()] or [path]
    files = [file for root in roots for file in found(root, lambda one: one.endswith((".jsonl", ".jsonl.zst")), _WHAT)]
    for file in sniffed(files, looks, _WHAT, faults):
        yield CodexLog(file, options, faults)


def looks(value: Any) -> bool:
    """Tell whether a line may be one of Codex'."""
    if not isinstance(value, dict):
        return False
    old = value.get("type") in _OLD or (
        "id" in value and "timestamp" in value and ("instructions" in value or "git" in value)
    )
    return (value.get("type") in _TYPES and "payload" in value) or (old and "sessionId" not in value)


class CodexLog(LogReader):
    """Reads the log of a session."""

    def __init__(self, path: Path, options: Options, faults: Faults) -> None:
        """Read `path`."""
        super().__init__(_SOURCE, path, faults)
        self._me = next(iter(sorted(options.me)), "user")
        self._book: Book | None = None
        self._session = fit_id(path.name.split(".")[0].removeprefix("rollout-"))
        self._about: dict[str, Any] = {}
        self._parent = self._provider = self._model = self._cwd = self._title = ""
        self._latest: int | None = None
        self._counted: Any = None
        self._thought: list[str] = []

    def _line(self, value: Any, number: int) -> Iterator[Item]:
        entry = read(value, number, self._latest)
        if entry.at is not None:
            self._latest = entry.at
        match entry.kind:
            case "meta":
                self._meta(entry.payload)
            case "context":
                self._model = name(entry.payload.get("model")) or self._model
                self._cwd = clean(entry.payload.get("cwd")) or self._cwd
            case "tokens":
                self._count(entry.payload)
            case "said" | "compacted" | "called" | "answered" | "thought":
                if self._latest is None:
                    raise UnfitError("neither the line nor one before it has a time")
                yield from self._item(entry, self._latest)
                if self._book is not None and self._book.full():
                    yield self._book.part()
            case _:
                self._faults.skip()

    def _end(self, fingerprint: str) -> Iterator[Item]:
        if self._book is not None and (session := self._book.end(fingerprint)) is not None:
            yield session

    def _meta(self, payload: dict[str, Any]) -> None:
        """Take what the session says of itself; a log of a session that was forked has its parent's as well, behind its own."""
        if self._about:
            return
        self._about = kept({key: payload.get(key) for key in ("cli_version", "originator", "source", "git")})
        self._session = fit_id(clean(payload.get("id"))) if clean(payload.get("id")) else self._session
        self._parent = clean(payload.get("forked_from_id"))
        self._provider = name(payload.get("model_provider")) or self._provider
        self._cwd = clean(payload.get("cwd")) or self._cwd

    def _at_book(self, at: int) -> Book:
        if self._book is None:
            self._book = Book(
                Session(
                    origin=_SOURCE,
                    id=self._session,
                    provider=self._provider or "openai",
                    created_at=at,
                    updated_at=at,
                    parent=f"{_SOURCE}:{self._parent}" if self._parent else "",
                )
            )
        return self._book

    def _item(self, entry: Entry, at: int) -> Iterator[Item]:
        book, id_ = self._at_book(at), f"{self._session}:{entry.number}"
        asks = entry.kind == "said" and entry.role == "user" and not entry.given
        if asks or not book.head or entry.kind == "compacted" or book.crowded(book.head):
            turn = Turn(id=fit_id(f"{_SOURCE}:{id_}"), started_at=at, parent_id=book.head, workspace=self._cwd)
            if entry.kind == "compacted" and book.head:
                turn.compaction = cut(entry.text, {}, _SAID) or "(empty)"
            book.begin(turn)
        turn = book.turn(book.head)
        turn.model = self._model or turn.model
        if entry.kind == "said":
            yield from self._say(book, entry, id_, at)
        elif entry.kind == "compacted":
            if not turn.compaction:
                book.say(turn.id, Said(fit_id(f"{_SOURCE}:{id_}"), "system", cut(entry.text, {}, _SAID), at))
            yield self._event(book, id_, at, "compaction", "observed", _SOURCE, entry.text)
        elif entry.kind == "called":
            yield self._call(book, entry, id_, at)
        elif entry.kind == "answered":
            of = book.answer(self._of_call(entry.call), cut(entry.text, {}, _RESULT), at, failed=entry.failed)
            event = self._event(book, f"{id_}:result", at, "tool_result", "observed", "tool", entry.text, _RESULT)
            event.reply_to = self._of_call(entry.call) if of else ""
            event.metadata |= kept({"failed": entry.failed})
            yield event
        else:
            self._thought.append(entry.text)
            self._thought = self._thought[-100:]

    def _say(self, book: Book, entry: Entry, id_: str, at: int) -> Iterator[Event]:
        """Tell a message; what Codex itself gave the model, instructions and surroundings, is no event."""
        thinking = "\n\n".join(self._thought) if entry.role == "assistant" else ""
        self._thought = []
        metadata = kept({"given": entry.given})
        content = cut(entry.text, metadata, _SAID)
        role = entry.role if not entry.given else "system"
        said = Said(fit_id(f"{_SOURCE}:{id_}"), role, content, at, "human" if role == "user" else "", metadata=metadata)
        said.thinking = cut(thinking, said.metadata, _SAID - len(content.encode()))
        book.say(book.head, said)
        if entry.given or role == "system" or not (entry.text or entry.attachments):
            self._faults.skip()
            return
        if role == "user":
            self._title = self._title or entry.text.strip().split("\n", 1)[0][:_SHOWN]
            event = self._event(book, id_, at, "message", "outbound", self._me, entry.text)
            event.to = [Party(_SOURCE, "assistant")]
            event.attachments = [replace(one, id=fit_id(f"{self._session}:{one.id}")) for one in entry.attachments]
        else:
            event = self._event(book, id_, at, "message", "inbound", self._model or "assistant", entry.text)
            event.to = [Party(_SOURCE, self._me)]
            event.reply_to = (
                book.head if book.head != event.id else ""
            )  # turns have the id of the event with which they begin
        yield event

    def _call(self, book: Book, entry: Entry, id_: str, at: int) -> Event:
        params = fit(entry.params, longest=_RESULT)
        book.call(
            book.head,
            Called(
                id=self._of_call(entry.call or id_),
                tool_name=name(entry.tool) or "unknown",
                params=params if isinstance(params, dict) else {"value": params},
                started_at=at,
            ),
        )
        if entry.done:
            book.answer(self._of_call(entry.call or id_), "", at)
        event = self._event(
            book, id_, at, "tool_invocation", "observed", self._model or "assistant", entry.text, _RESULT
        )
        event.source_id = fit_id(f"{self._session}:{entry.call}") if entry.call else event.source_id
        event.metadata |= {"tool": name(entry.tool)}
        return event

    def _of_call(self, call: str) -> str:
        """Return the id of a tool call, and of its event."""
        return f"{_SOURCE}:{fit_id(f'{self._session}:{call}')}"

    def _count(self, info: dict[str, Any]) -> None:
        """Count the tokens of the last answer; the same count may be told several times."""
        total, last = info.get("total_token_usage"), info.get("last_token_usage")
        if self._book is None or not self._book.head or not isinstance(last, dict) or total == self._counted:
            return
        self._counted = total

        def count(key: str) -> int:
            number = last.get(key)
            return number if isinstance(number, int) and 0 <= number < 1 << 40 else 0

        used = self._book.turn(self._book.head).used
        cached = count("cached_input_tokens")
        used.input += max(0, count("input_tokens") - cached)
        used.cached_input += cached
        used.output += count("output_tokens")
        used.reasoning += count("reasoning_output_tokens")

    def _event(
        self,
        book: Book,
        id_: str,
        at: int,
        kind: str,
        direction: Direction,
        who: str,
        text: str,
        longest: int = CONTENT,
    ) -> Event:
        metadata = kept(
            {
                "session_id": self._session,
                "turn_id": book.head,
                "model": self._model,
                "cwd": self._cwd,
                "thread_name": self._title,
                **self._about,
            }
        )
        return Event(
            source=_SOURCE,
            source_id=fit_id(id_),
            timestamp=at,
            direction=direction,
            type=kind,
            from_channel=_SOURCE,
            from_identifier=who,
            content=cut(clean(text), metadata, longest),
            thread_id=fit_id(book.label, NAME),
            metadata=metadata,
        )


CODEX = Kind("codex", _WHAT, readers)
