"""chat.db, in which macOS keeps iMessage and SMS: messages, tapbacks, replies, who joined and left, attachments."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from quartet_server.importers import times, typedstream
from quartet_server.importers.contract import Kind, Options, Reader
from quartet_server.importers.faults import Faults, UnfitError
from quartet_server.importers.items import Attached, Event, Json, Party
from quartet_server.importers.sqlite import Row, Source
from quartet_server.importers.tables import TableReader
from quartet_server.importers.text import NAME, clean, cut, fit_id, kept, name

_WHAT = "the database of Messages, as ~/Library/Messages/chat.db, or a copy of it together with its -wal"
_MESSAGE = (
    "guid", "text", "attributedBody", "handle_id", "date", "is_from_me", "type", "service", "subject", "associated_message_guid",
    "associated_message_type", "associated_message_emoji", "reply_to_guid", "thread_originator_guid", "group_action_type",
    "other_handle", "group_title", "item_type", "message_action_type", "destination_caller_id", "date_edited", "date_retracted",
    "is_audio_message", "balloon_bundle_id", "expressive_send_style_id",
)  # fmt: skip
_ATTACHMENT = ("guid", "created_date", "filename", "transfer_name", "uti", "mime_type", "total_bytes", "is_sticker")
_GROUP = 43
"""What `chat.style` is of a group; that of a dialogue is 45."""
_TAPBACKS = {2000: "❤️", 2001: "👍", 2002: "👎", 2003: "😂", 2004: "‼️", 2005: "❓"}
_IN_WORDS = {"Loved": "❤️", "Liked": "👍", "Disliked": "👎", "Laughed at": "😂", "Emphasized": "‼️", "Questioned": "❓"}
_QUOTED = re.compile(rf"({'|'.join(_IN_WORDS)}) [“\"](.*)[”\"]", re.DOTALL)
_ACTIONS = {1: "added", 3: "removed"}
_MEMBERS = 10_000
_PLACE = "\ufffc"
"""Stands in a text where an attachment is shown."""


def readers(path: Path, options: Options, faults: Faults) -> Iterator[Reader]:
    """Return the reader of the messages."""
    path = path / "chat.db" if path.is_dir() else path
    source = Source(path, _WHAT, ("message", "handle", "chat", "chat_message_join"))
    chats = Chats(source, options)
    yield TableReader(f"imessage:{path.absolute()}", source, "message", _MESSAGE, "guid", faults, chats.events)


class Chats:
    """The conversations of a chat.db, and who takes part in them."""

    def __init__(self, source: Source, options: Options) -> None:
        """Look them up in `source`."""
        self._source = source
        self._me = next(iter(sorted(options.me)), "")
        # reply_to_guid names the message before, answered or not; where there is thread_originator_guid, that tells answers.
        modern = "thread_originator_guid" in source.columns("message")
        self._answers = "thread_originator_guid" if modern else "reply_to_guid"
        self._handle = lru_cache(4096)(self._find_handle)
        self._chat = lru_cache(1024)(self._find_chat)

    def _find_handle(self, number: int) -> str:
        row = self._source.first("handle", ("id",), "ROWID", number)
        return name(row["id"]) if row is not None else ""

    def _find_chat(self, number: int) -> tuple[Row | None, tuple[str, ...]]:
        row = self._source.first("chat", ("chat_identifier", "display_name", "service_name", "style"), "ROWID", number)
        joined = self._source.find("chat_handle_join", ("handle_id",), "chat_id", number, _MEMBERS)
        members = (self._handle(one["handle_id"]) for one in joined if isinstance(one["handle_id"], int))
        return row, tuple(dict.fromkeys(member for member in members if member))

    def events(self, row: Row) -> Iterator[Event]:
        """Yield the event of a message. Raises UnfitError."""
        guid = row["guid"]
        if not isinstance(guid, str) or not guid:
            raise UnfitError("it has no guid")
        join = self._source.first("chat_message_join", ("chat_id",), "message_id", row["at"])
        chat, members = self._chat(join["chat_id"]) if join is not None else (None, ())
        mine = bool(row["is_from_me"])
        sender = self._handle(row["handle_id"]) if isinstance(row["handle_id"], int) and row["handle_id"] else ""
        me = self._me or name(row["destination_caller_id"]) or "me"
        attached = self._attached(row["at"])
        text = _text(row)
        kind, content, reply_to, more = _meaning(row, text, self._answers)
        others = [member for member in members if member != sender] if not mine else list(members)
        to = [Party("imessage", one) for one in others] if mine else [Party("imessage", me)]
        if not mine:
            to += [Party("imessage", one, role="member") for one in others]
        if mine and not to and sender:
            to = [Party("imessage", sender)]
        named = clean(chat["display_name"]) if chat is not None else ""
        identifier = clean(chat["chat_identifier"]) if chat is not None else ""
        types: list[Json] = [one for one, there in (("text", content and not more), ("attachment", attached)) if there]
        metadata = more | kept(
            {
                "content_types": types if kind == "message" else [kind],
                "service": row["service"],
                "subject": clean(row["subject"]),
                "thread_name": named,
                "is_group": chat is not None and chat["style"] == _GROUP,
                "edited": bool(row["date_edited"]),
                "retracted": bool(row["date_retracted"]),
                "audio": bool(row["is_audio_message"]),
                "app": clean(row["balloon_bundle_id"]),
            }
        )
        yield Event(
            source="imessage",
            source_id=fit_id(guid),
            timestamp=times.apple(row["date"]),
            direction="outbound" if mine else "inbound",
            type=kind,
            from_channel="imessage",
            from_identifier=me if mine else sender,
            to=to,
            content=cut(content, metadata),
            thread_id=fit_id(f"imessage:{identifier}", NAME) if identifier else "",
            reply_to=f"imessage:{fit_id(reply_to)}" if reply_to else "",
            attachments=attached,
            metadata=metadata,
        )

    def _attached(self, message: int) -> list[Attached]:
        found = []
        for join in self._source.find("message_attachment_join", ("attachment_id",), "message_id", message):
            row = self._source.first("attachment", _ATTACHMENT, "ROWID", join["attachment_id"])
            if row is None:
                continue
            path = clean(row["filename"])
            mime = name(row["mime_type"])
            found.append(
                Attached(
                    id=fit_id(clean(row["guid"]) or f"attachment:{join['attachment_id']}"),
                    mime=mime,
                    filename=clean(row["transfer_name"]) or path.rpartition("/")[2],
                    size=row["total_bytes"]
                    if isinstance(row["total_bytes"], int) and row["total_bytes"] >= 0
                    else None,
                    path=path,
                    metadata=kept({"uti": row["uti"], "media_type": "sticker" if row["is_sticker"] else media(mime)}),
                )
            )
        return found


def media(mime: str) -> str:
    """Return what kind of thing a MIME type is: image, video, audio, or document."""
    kind = mime.partition("/")[0].lower()
    return kind if kind in ("image", "video", "audio") else "document" if mime else ""


def _text(row: Row) -> str:
    """Return what a message says: newer systems leave `text` empty, and have it in `attributedBody` only."""
    found = row["text"] if isinstance(row["text"], str) and row["text"] else None
    if found is None and isinstance(row["attributedBody"], bytes):
        found = typedstream.text(row["attributedBody"])
    return clean(found or "").replace(_PLACE, "").strip()


def _meaning(row: Row, text: str, answers: str) -> tuple[str, str, str, dict[str, Json]]:
    """Return the event's type and content, the guid it answers, and metadata of what is not an ordinary message."""
    about = (
        clean(row["associated_message_guid"]).rpartition("/")[2].removeprefix("bp:")
    )  # `p:0/GUID`, `bp:GUID`, `GUID`
    number = row["associated_message_type"] or (row["type"] if about else 0)
    number = number if isinstance(number, int) else 0
    if 2000 <= number < 2100 or 3000 <= number < 3100:
        emoji = clean(row["associated_message_emoji"]) or _TAPBACKS.get(2000 + number % 1000, "")
        return (
            "reaction",
            emoji or text,
            about,
            {"reaction": number, "action": "removed" if number >= 3000 else "added"},
        )
    if quoted := _QUOTED.fullmatch(text):  # a tapback that came as SMS, or from before there were others
        metadata = kept({"action": "added", "reaction_to": quoted[2][:500], "text": text[:1000]})
        return "reaction", _IN_WORDS[quoted[1]], about, metadata
    if row["item_type"] or row["group_action_type"]:
        action = _ACTIONS.get(row["group_action_type"], "unknown")
        metadata = kept(
            {key: row[key] for key in ("group_action_type", "item_type", "message_action_type", "other_handle")}
        )
        metadata |= {"action": action} | kept({"group_title": clean(row["group_title"])})
        return "membership", action, "", metadata
    return "message", text, clean(row[answers]), {}


IMESSAGE = Kind("imessage", _WHAT, readers)
