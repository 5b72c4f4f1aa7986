"""A certificate authority and node certificates for tests."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

from raftmeta import pki
from raftmeta.tls import TlsFiles


def authority(directory: Path) -> pki.Authority:
    """The CA of `directory`, made at the first call."""
    paths = directory / "ca.crt", directory / "ca.key"
    return pki.load_ca(*paths) if paths[0].exists() else pki.create_ca(*paths)


def node(directory: Path, name: str, *, overwrite: bool = False, expired: bool = False) -> TlsFiles:
    """A certificate for the member `name` on loopback; `expired` yesterday if asked."""
    files = pki.files_of(directory, name)
    then = dt.datetime.now(dt.UTC) - dt.timedelta(days=2 if expired else 0)
    pki.issue_node(
        authority(directory),
        name,
        ["localhost", "127.0.0.1"],
        files.certificate,
        files.key,
        overwrite=overwrite,
        now=lambda: then,
        lifetime=dt.timedelta(days=1) if expired else pki.LEAF_LIFETIME,
    )
    return files


def client(directory: Path, *zones: str) -> TlsFiles:
    """A client's certificate for `zones`."""
    files = pki.files_of(directory, "client")
    pki.issue_client(authority(directory), "client", zones, files.certificate, files.key)
    return files
