"""Mailboxes in one file, as Thunderbird, mutt and Google Takeout leave them; read as a stream, however long."""

from __future__ import annotations

import email
import email.utils
import hashlib
import re
from collections.abc import Iterator
from email.message import Message
from pathlib import Path
from typing import NamedTuple

from quartet_server.importers import marks, times
from quartet_server.importers.contract import Kind, Options, Reader
from quartet_server.importers.faults import Faults, UnfitError, WrongKindError
from quartet_server.importers.files import found, newlines
from quartet_server.importers.items import Event
from quartet_server.importers.letters import Letter, ids, thread
from quartet_server.importers.mime import BROKEN, header, parts
from quartet_server.importers.text import kept, name

LARGEST = 64 << 20
"""Bytes of a message that are read; what is beyond is left out, and said in its metadata."""
_WHAT = "a mailbox (mbox), or a directory of them (*.mbox)"
_PIECE = 64 << 10
_BEGINS = re.compile(rb"From \S+.*(\d\d:\d\d.*\d{4}|\d{4}.*\d\d:\d\d)|From (\S+@\S*|\d{6,}|-)\s")
_QUOTED = re.compile(rb"^>(>*From )", re.MULTILINE)


class Raw(NamedTuple):
    """A message as it stands in a mailbox.

    Attributes:
        line: Number of its first line.
        end: Offset behind it.
        beyond: Bytes that it has besides `data`.
    """

    line: int
    end: int
    envelope: bytes
    data: bytes
    beyond: int


def readers(path: Path, options: Options, faults: Faults) -> Iterator[Reader]:
    """Return a reader for each mailbox."""
    for file in found(path, lambda one: one.endswith((".mbox", ".mbx")) or one == "mbox", _WHAT):
        with file.open("rb") as opened:
            start = opened.read(5)
        if start not in (b"From ", b""):
            raise WrongKindError(f"{file} does not begin with a `From ` line", f"expected {_WHAT}")
        yield Mailbox(file, options, faults)


class Mailbox:
    """Reads a mailbox, and goes on where it ended when it has grown."""

    def __init__(self, path: Path, options: Options, faults: Faults) -> None:
        """Read `path`."""
        self._path, self._options, self._faults = path, options, faults
        self._start = self._at = 0
        self._size = path.stat().st_size

    @property
    def name(self) -> str:
        """The file's path, as a mailbox."""
        return f"mbox:{self._path.absolute()}"

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return self._size

    @property
    def position(self) -> int:
        """Bytes read."""
        return self._at

    def resume(self, mark: str) -> None:
        """Go on behind the last message that an earlier run read."""
        self._start = self._at = marks.resumed(self._path, mark)

    def mark(self) -> str:
        """Return how far this is."""
        return marks.mark(self._path, self._at)

    def close(self) -> None:
        """Nothing stays open."""

    def read(self) -> Iterator[Event]:
        """Yield the messages."""
        for raw in split(self._path, self._start):
            try:
                yield letter(raw).event("mbox", "email", self._options.me)
            except BROKEN as error:
                self._faults.add(f"{self._path.name}:{raw.line}", str(error) or type(error).__name__)
            self._at = raw.end


def split(path: Path, start: int = 0) -> Iterator[Raw]:
    """Yield the messages from the offset `start`, where one begins. Raises OSError.

    A message begins with a line `From ` that looks like one, at the beginning or after an empty line.
    """
    with path.open("rb") as file:
        file.seek(start)
        at, number, first, held = start, newlines(path, start), 0, 0
        envelope, beyond, blank, continued = b"", 0, True, False
        data: list[bytes] = []
        while piece := file.readline(_PIECE):
            number += not continued
            if blank and not continued and piece.startswith(b"From ") and _BEGINS.match(piece):
                if envelope:
                    yield Raw(first, at, envelope, b"".join(data), beyond)
                envelope, first, data, held, beyond = piece, number, [], 0, 0
            elif held + len(piece) > LARGEST:
                beyond += len(piece)
            else:
                data.append(piece)
                held += len(piece)
            at += len(piece)
            blank = not continued and piece in (b"\n", b"\r\n")
            continued = not piece.endswith(b"\n")
        if envelope:
            yield Raw(first, at, envelope, b"".join(data), beyond)


def letter(raw: Raw) -> Letter:
    """Return the message. Raises UnfitError, and what BROKEN says."""
    message = email.message_from_bytes(_QUOTED.sub(rb"\1", raw.data))
    if not message.keys():
        raise UnfitError("the message has no headers")
    own = next(iter(ids(header(message, "Message-ID"))), "")
    answered, references = ids(header(message, "In-Reply-To")), ids(header(message, "References"))
    body, attached, of_html = parts(message)
    labels = [one.strip().strip('"') for one in header(message, "X-Gmail-Labels").split(",") if one.strip()]
    low = {label.lower() for label in labels}
    id_ = own or "sha256:" + hashlib.sha256(raw.data).hexdigest()
    metadata = kept(
        {
            "message_id": own,
            "list_id": header(message, "List-ID"),
            "html": of_html,
            "labels": labels,
            "beyond_limit_bytes": raw.beyond,
        }
    )
    return Letter(
        id=id_,
        timestamp=_time(message, raw.envelope),
        subject=header(message, "Subject"),
        sender=header(message, "From") or header(message, "Sender"),
        to=header(message, "To"),
        cc=header(message, "Cc"),
        bcc=header(message, "Bcc"),
        body=body,
        thread=f"mbox:{name(header(message, 'X-GM-THRID')) or thread(references, answered, id_)}",
        reply_to=answered[0] if answered else references[-1] if references else "",
        labels=labels,
        sent="sent" in low,
        attachments=attached,
        metadata=metadata,
        state=_state(low, header(message, "Status") + header(message, "X-Status"), bool(labels)),
    )


def _time(message: Message, envelope: bytes) -> int:
    """Return when a message was sent; when its date is none, when it was put into the mailbox."""
    for text in (header(message, "Date"), header(message, "Received").rpartition(";")[2]):
        try:
            return times.of(email.utils.parsedate_to_datetime(text))
        except BROKEN:
            continue
    words = envelope.decode("ascii", "replace").split(maxsplit=2)
    parsed = email.utils.parsedate_tz(words[2]) if len(words) == 3 else None
    if parsed is None:
        raise UnfitError("the message has no date")
    try:
        return times.unix(email.utils.mktime_tz(parsed))
    except (OverflowError, ValueError):
        raise UnfitError("the message has no date") from None


def _state(labels: set[str], status: str, gmail: bool) -> dict[str, bool]:
    """Return what is known of what the reader did with a message."""
    if gmail:
        state = {"viewed": "unread" not in labels, "archived": not labels & {"inbox", "sent", "drafts", "draft"}}
        return state | ({"flagged": True} if labels & {"starred", "important"} else {})
    state = {"viewed": True} if "R" in status else {}
    return state | ({"flagged": True} if "F" in status else {})


MBOX = Kind("mbox", _WHAT, readers)
