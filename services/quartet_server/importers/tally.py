"""What an import did, counted while it does it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from quartet_server.importers.faults import Faults


@dataclass(slots=True)
class Tally:
    """Counts of one import.

    Attributes:
        faults: What could not be read, or was refused.
        events: Events read.
        created: Of these, those that are new.
        duplicates: Those that the ledger had.
        sessions: Sessions that are new or have grown.
        unchanged: Sessions of which nothing was new.
        files: Files, databases and conversations looked at.
        tags: Events and tags brought together, states set.
    """

    faults: Faults = field(default_factory=Faults)
    events: int = 0
    created: int = 0
    duplicates: int = 0
    sessions: int = 0
    unchanged: int = 0
    turns: int = 0
    messages: int = 0
    tool_calls: int = 0
    files: int = 0
    tags: int = 0
    states: int = 0

    def row(self) -> dict[str, Any]:
        """Return the counts as data."""
        faults = self.faults.row()
        return {
            "created": self.created,
            "duplicates": self.duplicates,
            "bad": faults["bad"],
            "skipped": faults["skipped"],
            "events": self.events,
            "sessions": self.sessions,
            "sessions_unchanged": self.unchanged,
            "turns": self.turns,
            "messages": self.messages,
            "tool_calls": self.tool_calls,
            "tags": self.tags,
            "states": self.states,
            "files": self.files,
            "faults": faults["faults"],
        }
