"""What may be mounted: URLs in one spelling, held against what the node's configuration lists."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from quartet_server.errors import FieldInvalid, MountRefused

LONGEST = 1024
LOCAL = ("file", "memory")
"""Schemes of stores that are one node's alone."""
REMOTE = ("s3", "gs", "az")
"""Schemes of stores that all nodes reach."""
_PLAIN = re.compile(r"[A-Za-z0-9._/+=,~-]*")
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}")
_PACKS = "packs"  # of a store on a disk: see objects/disk


def normal(url: str, field: str = "url") -> str:
    """Return a URL of a store without a slash at its end. Raises FieldInvalid, for credentials in it too."""
    if len(url) > LONGEST:
        raise FieldInvalid.of(field, f"{len(url)} characters, at most {LONGEST} are taken")
    scheme, separator, rest = url.partition("://")
    if not separator or scheme not in (*LOCAL, *REMOTE):
        raise FieldInvalid.of(field, f"must begin with one of {', '.join(f'{one}://' for one in (*LOCAL, *REMOTE))}")
    if _PLAIN.fullmatch(rest) is None:
        raise FieldInvalid.of(
            field, "is of A-Z, a-z, 0-9, . _ / + = , ~ and - after its scheme: no credentials, no options"
        )
    host, _, path = rest.rstrip("/").partition("/")
    names = path.split("/") if path else []
    if any(name in ("", ".", "..") for name in names):
        raise FieldInvalid.of(field, "has no empty, . or .. component")
    if scheme == "file" and (host or not names):
        raise FieldInvalid.of(field, "must name a directory from the root, like file:///srv/blobs")
    if scheme != "file" and _BUCKET.fullmatch(host) is None:
        raise FieldInvalid.of(field, f"must name a store, like {scheme}://NAME")
    return f"{scheme}://{'/'.join([host, *names])}"


def is_local(url: str) -> bool:
    """Tell whether a store is one node's alone."""
    return url.partition("://")[0] in LOCAL


def overlap(one: str, other: str) -> bool:
    """Tell whether two places are the same, or one lies in the other."""
    return f"{one}/".startswith(f"{other}/") or f"{other}/".startswith(f"{one}/")


@dataclass(frozen=True, slots=True)
class Allowed:
    """What a node's configuration lets be mounted.

    Attributes:
        prefixes: Beginnings of URLs, up to the end of a component; and whole endpoints, http:// or https://.
        endpoint: The S3 server that the node's own store may be on; allowed too.
        data_dir: The node's data directory, in which nothing is mounted.
    """

    prefixes: tuple[str, ...]
    endpoint: str
    data_dir: Path

    @classmethod
    def of(cls, listed: str, endpoint: str, data_dir: Path) -> Allowed:
        """Read the comma-separated list of the configuration. Raises FieldInvalid."""
        prefixes = tuple(one.strip() for one in listed.split(",") if one.strip())
        for one in prefixes:
            scheme, separator, _ = one.partition("://")
            if not separator or scheme not in (*LOCAL, *REMOTE, "http", "https"):
                raise FieldInvalid.of(
                    "objects.mounts", f"{one!r} is not the beginning of a store's URL, nor an endpoint"
                )
        return cls(prefixes, endpoint, data_dir)

    def check(self, url: str, endpoint: str) -> None:
        """Hold a URL in its one spelling, and an endpoint, against the list. Raises MountRefused."""
        if not any(_begins(url, one) for one in self.prefixes):
            raise MountRefused(f"this node does not allow {url} to be mounted", url=url)
        if endpoint and endpoint != self.endpoint and endpoint not in self.prefixes:
            raise MountRefused(f"this node does not allow the endpoint {endpoint}", url=url, endpoint=endpoint)

    def folder(self, url: str) -> Path:
        """Return the directory of a file:// URL, links resolved. Raises MountRefused for one that is not to be written into.

        Looks at the disk.
        """
        path = Path(urlsplit(url).path).resolve()
        roots = [Path(urlsplit(one).path).resolve() for one in self.prefixes if one.startswith("file://")]
        if not any(path.is_relative_to(root) for root in roots):
            raise MountRefused(f"{url} leads out of what this node allows", url=url)
        own = self.data_dir.resolve()
        if path.is_relative_to(own) or own.is_relative_to(path):
            raise MountRefused(f"{url} is the node's own data directory, or around it", url=url)
        if path.exists() and (not path.is_dir() or (any(path.iterdir()) and not (path / _PACKS).is_dir())):
            raise MountRefused(f"{url} holds something else than blobs", url=url, hint="name an empty directory")
        return path


def _begins(url: str, prefix: str) -> bool:
    return f"{url}/".startswith(prefix if prefix.endswith("/") else f"{prefix}/")
