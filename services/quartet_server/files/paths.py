"""Paths and names: what is allowed, and which spellings are one name."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass

from quartet_server.errors import PathInvalid

LONGEST_PATH = 4096
LONGEST_NAME = 255
DEEPEST = 64


@dataclass(frozen=True, slots=True)
class Path:
    """A valid absolute path.

    Attributes:
        names: Components as they were given.
        keys: NFC bytes of each component: what identifies it.
    """

    names: tuple[str, ...]
    keys: tuple[bytes, ...]

    def __str__(self) -> str:
        return "/" + "/".join(self.names)

    @property
    def is_root(self) -> bool:
        """Whether it is the root of the zone."""
        return not self.names

    @property
    def parent(self) -> Path:
        """The directory that holds it; the root's is the root."""
        return self.first(max(len(self.names) - 1, 0))

    def target(self, text: str) -> Path:
        """Return where a symbolic link at this path points: `..` goes up, and from the root nowhere. Raises PathInvalid."""
        names = [] if text.startswith("/") else list(self.parent.names)
        for name in text.split("/"):
            if name == "..":
                del names[-1:]
            elif name not in ("", "."):
                names.append(name)
        return parse("/" + "/".join(names))

    def first(self, count: int) -> Path:
        """Return the path of its first `count` components."""
        return Path(self.names[:count], self.keys[:count])


def parse(text: str) -> Path:
    """Take a path apart. Raises PathInvalid, naming what is wrong with it."""

    def bad(why: str) -> PathInvalid:
        return PathInvalid(f"{text[:200]!r}: {why}", path=text[:200])

    if not text.startswith("/"):
        raise bad("a path starts with /")
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise bad("a path is valid UTF-8") from None
    if size > LONGEST_PATH:
        raise bad(f"{size} bytes, at most {LONGEST_PATH} are allowed")
    stripped = text[1:].removesuffix("/")
    if not stripped:
        if text not in ("/", ""):
            raise bad("a component is empty")
        return Path((), ())
    names = tuple(stripped.split("/"))
    if len(names) > DEEPEST:
        raise bad(f"{len(names)} components, at most {DEEPEST} are allowed")
    keys = []
    for name in names:
        if problem := name_problem(name):
            raise bad(problem)
        keys.append(normal(name))
    return Path(names, tuple(keys))


def normal(name: str) -> bytes:
    """Return the bytes that identify a name: its NFC form in UTF-8."""
    return (name if name.isascii() else unicodedata.normalize("NFC", name)).encode()


def name_problem(name: str) -> str:
    """Say what keeps `name` from being a component; empty when nothing does."""
    if not name:
        return "a component is empty"
    if name in (".", ".."):
        return f"{name} is not a name"
    if "\0" in name:
        return "a component holds a NUL"
    if "/" in name:
        return "a component holds a /"
    size = max(len(name.encode()), len(normal(name)))
    if size > LONGEST_NAME:
        return f"a component has {size} bytes, at most {LONGEST_NAME} are allowed"
    return ""
