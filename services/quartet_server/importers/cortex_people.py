"""Who takes part in Cortex' events: contacts, or in older databases persons, by the identifier that fits the channel."""

from __future__ import annotations

from functools import lru_cache

from quartet_server.importers.items import Party
from quartet_server.importers.sqlite import Row, Source
from quartet_server.importers.text import clean, name

_ROLES = {"recipient": "recipient", "cc": "cc", "bcc": "bcc", "observer": "observer", "member": "member"}
_FITTING = {
    "gmail": ("email",),
    "email": ("email",),
    "calendar": ("email",),
    "imessage": ("phone", "email"),
    "x": ("handle",),
}
"""Types of identifiers that a channel has, the best first."""
_ANY = ("email", "phone", "handle", "ai", "human", "device")
_MOST = 10_000


class People:
    """The participants of events."""

    def __init__(self, source: Source) -> None:
        """Look them up in `source`."""
        self._source = source
        self._contact = lru_cache(8192)(self._find_contact)
        self._person = lru_cache(8192)(self._find_person)

    def of(self, event: str, channel: str) -> tuple[Party | None, list[Party]]:
        """Return who sent an event, if it is known, and all others."""
        sender: Party | None = None
        others: list[Party] = []
        columns = ("contact_id", "person_id", "role")
        for row in self._source.find("event_participants", columns, "event_id", event, _MOST):
            identifier, called = self._who(row, channel)
            role = clean(row["role"])
            if not identifier:
                continue
            if role == "sender" and sender is None:
                sender = Party(channel, identifier, "sender", called)
            else:
                others.append(Party(channel, identifier, _ROLES.get(role, "recipient"), called))
        return sender, others

    def _who(self, row: Row, channel: str) -> tuple[str, str]:
        if row["contact_id"] is not None:
            return self._contact(row["contact_id"], channel)
        return self._person(row["person_id"], channel) if row["person_id"] is not None else ("", "")

    def _find_contact(self, id_: object, channel: str) -> tuple[str, str]:
        contact = self._source.first("contacts", ("display_name",), "id", id_)
        columns = ("type", "value", "normalized")
        known = {
            clean(row["type"]): name(row["normalized"]) or name(row["value"])
            for row in reversed(self._source.find("contact_identifiers", columns, "contact_id", id_))
        }
        called = clean(contact["display_name"]) if contact is not None else ""
        fitting = (*_FITTING.get(channel, ()), *_ANY, *known)
        return next((known[kind] for kind in fitting if known.get(kind)), "") or name(called) or name(str(id_)), called

    def _find_person(self, id_: object, channel: str) -> tuple[str, str]:
        person = self._source.first("persons", ("canonical_name", "display_name"), "id", id_)
        known = {
            clean(row["channel"]): name(row["identifier"])
            for row in reversed(self._source.find("identities", ("channel", "identifier"), "person_id", id_))
        }
        called = (clean(person["display_name"]) or clean(person["canonical_name"])) if person is not None else ""
        fitting = (channel, *_FITTING.get(channel, ()), *known)
        return next((known[kind] for kind in fitting if known.get(kind)), "") or name(called) or name(str(id_)), called
