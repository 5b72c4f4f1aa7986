"""Who a member is: ids of cluster and member, kept in its data directory."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

_FILE = "identity.json"
_VERSION = 1


class IdentityError(Exception):
    """A data directory belongs to somebody else, or cannot be understood; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Identity:
    """The ids a member has for life.

    Attributes:
        cluster_id: Unsigned 64-bit, the same on every member, never 0.
        member_id: Unsigned 64-bit, never 0.
        name: The member's name.
        token: The cluster's token.
    """

    cluster_id: int
    member_id: int
    name: str
    token: str


def hash_id(*parts: str) -> int:
    """Return a stable unsigned 64-bit number, never 0, for some strings."""
    digest = hashlib.sha256("\0".join(parts).encode()).digest()
    return int.from_bytes(digest[:8]) or 1


def member_id(token: str, peer_address: str, nonce: str = "") -> int:
    """Return the id of a member; founding members have no nonce, so that everyone computes the same."""
    return hash_id("member", token, peer_address, nonce)


def cluster_id(token: str, peers: Mapping[str, str]) -> int:
    """Return the id of the cluster that these founding members (name to peer address) form."""
    return hash_id("cluster", token, *(str(member_id(token, address)) for address in sorted(peers.values())))


def load(data_dir: Path) -> Identity | None:
    """Return who the data directory belongs to, None when it is new. Raises IdentityError when it is unreadable."""
    try:
        document = json.loads((data_dir / _FILE).read_text())
        if document.pop("version") != _VERSION:
            raise IdentityError(f"{data_dir / _FILE} was written by another version of raftmeta; use that version")
        return Identity(**document)
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError) as error:
        raise IdentityError(f"{data_dir / _FILE} is damaged ({error}); restore the member from a snapshot") from error


def save(data_dir: Path, identity: Identity) -> None:
    """Write the identity, durably and at once."""
    temporary = data_dir / f".{_FILE}.new"
    with temporary.open("w") as file:
        json.dump({"version": _VERSION, **asdict(identity)}, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(data_dir / _FILE)
    directory = os.open(data_dir, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def check(data_dir: Path, stored: Identity, wanted: Identity) -> None:
    """Refuse to start as `wanted` on the data of `stored`. Raises IdentityError naming the difference."""
    if stored.cluster_id != wanted.cluster_id:
        raise IdentityError(
            f"{data_dir} belongs to cluster {stored.cluster_id:x}, not {wanted.cluster_id:x}: check --data-dir, "
            f"--cluster-token and --initial-cluster, or move the directory away to start anew"
        )
    if stored.member_id != wanted.member_id:
        raise IdentityError(
            f"{data_dir} belongs to member {stored.member_id:x} ({stored.name}), not {wanted.member_id:x} "
            f"({wanted.name}): check --data-dir and --name"
        )
