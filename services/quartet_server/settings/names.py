"""Names, limits and page tokens of settings and flags."""

from __future__ import annotations

import base64
import binascii
import re

from quartet_server.errors import EtagStale, FieldInvalid, PageTokenInvalid, SettingNotFound

MASK = "********"
MOST = 1000
PAGE = 100
PAGE_BYTES = 2 << 20  # with the values read last, still below the 4 MiB of a message
AT_ONCE = 16
LONGEST_VALUE = 65_536
LONGEST_DESCRIPTION = 1024
_NAME = re.compile(r"[a-z][a-z0-9._/-]{0,254}")
_PREFIX = re.compile(r"[a-z0-9._/-]{0,255}")


def check_name(name: str) -> str:
    """Return a valid name. Raises FieldInvalid."""
    if _NAME.fullmatch(name) is None:
        raise FieldInvalid.of("name", "is 1 to 255 of a-z, 0-9, . _ / -, beginning with a letter")
    return name


def check_prefix(prefix: str) -> str:
    """Return what a name can begin with. Raises FieldInvalid."""
    if _PREFIX.fullmatch(prefix) is None:
        raise FieldInvalid.of("prefix", "is of a-z, 0-9, . _ / -")
    return prefix


def check_text(field: str, text: str, limit: int) -> None:
    """Hold a text against its limit in bytes. Raises FieldInvalid."""
    if (size := len(text.encode())) > limit:
        raise FieldInvalid.of(field, f"{size} bytes, at most {limit} are taken")


def require(name: str, etag: str, current: int) -> None:
    """Hold a request's etag against the revision of the last write, 0 for none. Raises EtagStale."""
    if etag and etag != str(current):
        raise EtagStale(f"{name} was written since it was read", etag=etag, current=current)


def missing(name: str) -> SettingNotFound:
    """Return the error for a name that was never set."""
    return SettingNotFound(f"nothing is set under {name}", name=name)


def page_size(given: int) -> int:
    """Return how many to read. Raises FieldInvalid."""
    if not 0 <= given <= MOST:
        raise FieldInvalid.of("page_size", f"0 to {MOST} are taken")
    return given or PAGE


def page_token(kind: str, prefix: str, last: str) -> str:
    """Return the token of the page of `kind` after `last`."""
    return base64.urlsafe_b64encode(f"{kind}\0{prefix}\0{last}".encode()).decode()


def after(kind: str, prefix: str, token: str) -> str:
    """Return the name after which a page begins, empty for the first. Raises PageTokenInvalid."""
    if not token:
        return ""
    try:
        *told, last = base64.urlsafe_b64decode(token.encode()).decode().split("\0")
    except (binascii.Error, ValueError):
        raise PageTokenInvalid("the page token is not one of ours") from None
    if told != [kind, prefix]:
        raise PageTokenInvalid("the page token belongs to another request")
    return last
