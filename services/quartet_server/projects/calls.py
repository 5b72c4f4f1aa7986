"""How calls reach the database: reads in one transaction, writes in one that is done once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from google.protobuf.message import Message
from grpc import aio

from quartet_server.projects.unit import Unit, unit
from quartet_server.records.contract import Database, Session
from quartet_server.records.requests import once
from quartet_server.rpc.call import current_zone

A = TypeVar("A", bound=Message)
T = TypeVar("T")
Context = aio.ServicerContext[Any, Any]
SERVICE = "/quartet.projects.v1.ProjectService/"
"""What full names of its methods begin with."""


class Calls:
    """What the calls of ProjectService have in common.

    Attributes:
        database: Where their records are.
    """

    def __init__(self, database: Database) -> None:
        """Serve from `database`."""
        self.database = database

    async def read(self, work: Callable[[Session], T]) -> T:
        """Run `work` on one state of the caller's zone."""
        return await self.database.read(current_zone(), work)

    async def write(self, method: str, request: Any, answer: type[A], work: Callable[[Unit], A]) -> A:
        """Run `work` in a transaction in the caller's zone, once for each request id, and settle what it owes."""

        def whole(session: Session) -> A:
            with unit(session) as writes:
                return work(writes)

        return await once(
            self.database,
            current_zone(),
            method=SERVICE + method,
            request_id=getattr(request, "request_id", ""),
            request=request,
            answer=answer,
            work=whole,
        )
