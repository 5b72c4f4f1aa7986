"""What readers make of foreign data: events, sessions of agents, and what lies beside them; times are microseconds since 1970."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]
"""Any JSON value."""
Direction = Literal["inbound", "outbound", "observed"]
"""As the human who owns the data sees it: what they wrote is outbound, what came to them inbound, all else observed."""


@dataclass(frozen=True, slots=True)
class Party:
    """Who takes part in an event.

    Attributes:
        channel: Where they are known, as `imessage` or `email`.
        identifier: Under which name there: an address, a number, a model.
        role: `recipient`, `cc`, `bcc`, `member` or `mentioned`.
        name: What people call them; may be empty.
    """

    channel: str
    identifier: str
    role: str = "recipient"
    name: str = ""


@dataclass(frozen=True, slots=True)
class Attached:
    """A file that came with an event; its bytes stay where they are.

    Attributes:
        id: Its id in the source.
        mime: Its MIME type.
        size: Bytes; None where unknown.
        path: Where it lies on the machine that was imported from.
        url: Where else it is to be had.
    """

    id: str
    mime: str = ""
    filename: str = ""
    size: int | None = None
    path: str = ""
    url: str = ""
    digest: str = ""
    metadata: Mapping[str, Json] = field(default_factory=dict)


@dataclass(slots=True)
class Event:
    """One thing that happened, as the event ledger keeps it; its id is `{source}:{source_id}`.

    Attributes:
        timestamp: When it happened, by its source.
        received_at: When the ledger's owner got it; None: then, too.
        reply_to: Id of the event that it answers, the source in front.
        metadata: What has no place of its own.
        given_id: Its id, where the source chose another one than `{source}:{source_id}`.
        tags: Labels that the source gave it.
        state: What its reader did with it, as `viewed`, `archived`, `flagged`, `pinned`.
        state_at: When that was so; None: unknown.
    """

    source: str
    source_id: str
    timestamp: int
    direction: Direction
    from_channel: str
    from_identifier: str
    content: str = ""
    type: str = "message"
    content_type: str = "text"
    thread_id: str = ""
    reply_to: str = ""
    to: list[Party] = field(default_factory=list)
    attachments: list[Attached] = field(default_factory=list)
    received_at: int | None = None
    metadata: dict[str, Json] = field(default_factory=dict)
    tags: list[str] = field(default_factory=list)
    state: dict[str, bool] = field(default_factory=dict)
    state_at: int | None = None
    given_id: str = ""

    @property
    def id(self) -> str:
        """Its id in the ledger."""
        return self.given_id or f"{self.source}:{self.source_id}"


@dataclass(slots=True)
class Said:
    """A message within a turn.

    Attributes:
        role: `user`, `assistant`, `system` or `tool`.
        source: Who is behind it: `human`, `agent`, `event`, ...; may be empty.
    """

    id: str
    role: str
    content: str
    created_at: int
    source: str = ""
    thinking: str = ""
    metadata: dict[str, Json] = field(default_factory=dict)


@dataclass(slots=True)
class Called:
    """A tool that was called within a turn.

    Attributes:
        message_id: The message that asked for it; may be empty.
        params: What it was given.
        result: What it answered.
        error: Why it failed.
    """

    id: str
    tool_name: str
    params: Json
    started_at: int
    message_id: str = ""
    result: str = ""
    error: str = ""
    failed: bool = False
    completed_at: int | None = None
    spawned_session: str = ""


@dataclass(slots=True)
class Used:
    """Tokens of a turn."""

    input: int = 0
    output: int = 0
    cached_input: int = 0
    cache_write: int = 0
    reasoning: int = 0


@dataclass(slots=True)
class Turn:
    """What a prompt set in motion, until the next prompt; a compaction is a turn of its own.

    Attributes:
        parent_id: The turn that it follows; empty for a root.
        compaction: The summary that replaced what was before; None for an ordinary turn.
        messages: In the order in which they were said.
    """

    id: str
    started_at: int
    parent_id: str = ""
    completed_at: int | None = None
    model: str = ""
    workspace: str = ""
    compaction: str | None = None
    trigger: str = ""
    tokens_before: int = 0
    used: Used = field(default_factory=Used)
    messages: list[Said] = field(default_factory=list)
    calls: list[Called] = field(default_factory=list)


@dataclass(slots=True)
class Session:
    """A conversation with an agent, or the next part of a long one; its label is `{origin}:{id}`.

    Attributes:
        origin: Program that kept it, as `claude-code`.
        provider: Whose models it talks to, as `anthropic`.
        turns: Those that are new since the part before, parents before children; a turn that comes again has more to say. The
            last one of the last part is the one with which the session ends.
        final: Whether it is the last part.
        fingerprint: Changes whenever the session does; another one for each part.
        parent: Label of the session that started this one; empty where none did.
    """

    origin: str
    id: str
    provider: str
    created_at: int
    updated_at: int
    fingerprint: str = ""
    final: bool = True
    parent: str = ""
    task: str = ""
    turns: list[Turn] = field(default_factory=list)

    @property
    def label(self) -> str:
        """Its label in the agents ledger."""
        return f"{self.origin}:{self.id}"


Item = Event | Session
"""What a reader yields."""
