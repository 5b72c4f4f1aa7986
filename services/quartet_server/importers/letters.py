"""E-mail messages as events, wherever they come from: who wrote to whom, what, and in which conversation."""

from __future__ import annotations

import email.utils
import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from quartet_server.importers.items import Attached, Direction, Event, Json, Party
from quartet_server.importers.text import NAME, clean, cut, fit_id, kept, name

_HEADER = 64 << 10
_MOST = 1000
_ID = re.compile(r"<([^<>\s]+)>")


@dataclass(slots=True)
class Letter:
    """A message, taken apart.

    Attributes:
        id: What tells it from all others of its source.
        sender: The From header, decoded; the next three likewise.
        labels: What its keeper sorted it under.
        sent: Whether it is known to come from the owner.
    """

    id: str
    timestamp: int
    subject: str = ""
    sender: str = ""
    to: str = ""
    cc: str = ""
    bcc: str = ""
    body: str = ""
    thread: str = ""
    reply_to: str = ""
    labels: list[str] = field(default_factory=list)
    sent: bool = False
    attachments: list[Attached] = field(default_factory=list)
    metadata: dict[str, Json] = field(default_factory=dict)
    state: dict[str, bool] = field(default_factory=dict)

    def event(self, source: str, channel: str, me: frozenset[str]) -> Event:
        """Return the event; what one of `me` wrote went out. The conversation's id is taken as it is."""
        senders = addresses(self.sender)
        own = self.sent or any(one in me for one, _ in senders)
        direction: Direction = "outbound" if own else "inbound"
        sender, shown = senders[0] if senders else (name(self.sender), "")
        to = [
            Party(channel, address, role, called)
            for role, header in (("recipient", self.to), ("cc", self.cc), ("bcc", self.bcc))
            for address, called in addresses(header)
        ]
        metadata = self.metadata | kept(
            {"subject": self.subject, "from_name": shown, "thread_name": self.subject[:300]}
        )
        names = {one.identifier: one.name for one in to if one.name}
        metadata |= kept({"names": names})
        content = f"Subject: {self.subject}\n\n{self.body}" if self.subject else self.body
        return Event(
            source=source,
            source_id=fit_id(self.id),
            timestamp=self.timestamp,
            direction=direction,
            type="email",
            from_channel=channel,
            from_identifier=sender,
            to=to[:_MOST],
            content=cut(content, metadata),
            thread_id=fit_id(self.thread or f"{source}:{self.id}", NAME),
            reply_to=f"{source}:{fit_id(self.reply_to)}" if self.reply_to else "",
            attachments=[replace(one, id=fit_id(f"{self.id}:{one.id}")) for one in self.attachments],
            metadata=metadata,
            tags=[name(label, 256) for label in self.labels if name(label, 256)],
            state=self.state,
        )


def addresses(header: str) -> list[tuple[str, str]]:
    """Return the addresses in a header, in small letters, each with the name before it."""
    found = email.utils.getaddresses([header[:_HEADER]])
    return [(name(address.lower()), clean(called)) for called, address in found[:_MOST] if "@" in address]


def ids(header: str) -> list[str]:
    """Return the message ids in a header, without their brackets."""
    return [clean(one) for one in _ID.findall(header[:_HEADER])][:_MOST]


def thread(references: Iterable[str], answered: Iterable[str], own: str) -> str:
    """Return the id of a conversation: that of the message with which it began, as far as this one knows."""
    return next(iter([*references, *answered]), own)
