"""How commands reach a cluster, and how its errors become theirs."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Annotated

from cyclopts import Parameter
from quartet import CallError, Client, ConfigurationError, Unavailable

from quartet_server.cli.output import CommandError, printable

SCHEME = "qt:"
Endpoints = Annotated[
    str | None,
    Parameter(help="HOST:PORT,... of nodes; default: QUARTET_CLIENT_ENDPOINTS, else 127.0.0.1:7400."),
]
Zone = Annotated[str, Parameter(help="Zone to act in; empty lets the server choose.")]
Remote = Annotated[str, Parameter(help="Remote path: qt:/path, or just /path.")]


@contextlib.contextmanager
def connected(endpoints: str | None, zone: str = "", timeout: float = 10.0) -> Iterator[Client]:
    """Connect; TLS as the QUARTET_CLIENT_* variables say. Errors of calls become errors of the command.

    A call takes `timeout` seconds at most, repetitions included.
    """
    try:
        with Client(endpoints, zone=zone, timeout=timeout) as client:
            yield client
    except ConfigurationError as error:
        raise CommandError(str(error), "--endpoints HOST:PORT", exit_code=2) from error
    except CallError as error:
        hint = error.hint
        if not hint and isinstance(error, Unavailable):  # gRPC's own words: a port that listens but does not understand
            hint = (
                "does the node speak TLS? QUARTET_CLIENT_CA, QUARTET_CLIENT_CERT and QUARTET_CLIENT_KEY name the files"
            )
        raise CommandError(
            f"{printable(error.message)} [{error.reason or error.code.name}]", printable(hint)
        ) from error


def remote(path: str) -> str:
    """Return the path that `qt:/path` or `/path` names. Raises CommandError."""
    bare = path.removeprefix(SCHEME)
    if not bare.startswith("/"):
        raise CommandError(f"{path} is not a remote path", f"write it like {SCHEME}/{bare}", exit_code=2)
    return bare
