"""A gRPC server of our own: HTTP/2 and gRPC over asyncio. See DESIGN.md beside this file."""

from __future__ import annotations

from raftmeta.serving.call import Call
from raftmeta.serving.limits import CallLimits, Limits
from raftmeta.serving.methods import Handler, Wrap
from raftmeta.serving.server import Server

__all__ = ["Call", "CallLimits", "Handler", "Limits", "Server", "Wrap"]
