"""Who may do what before a request is looked at: keyspace, leader, learner."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, NoReturn, TypeVar

import grpc

from raftmeta.config import ETCD_SPACE, SPACES
from raftmeta.consensus.contract import Status
from raftmeta.drivers.embedded import EmbeddedMetastore
from raftmeta.errors import Fault, MetastoreError
from raftmeta.etcd import rpc_pb2 as pb
from raftmeta.machine import checks
from raftmeta.node import Node

Request = TypeVar("Request")
Context = grpc.aio.ServicerContext[Any, Any]

_SPACE_KEY, _LEADER_KEY = "raftmeta-space", "hasleader"
_READ_ONLY = "raftmeta: keyspace {} is read-only through the etcd API: it holds Quartet's own metadata"
_UNKNOWN_SPACE = "raftmeta: there is no keyspace {!r}: metadata raftmeta-space takes 0 or 1"


class Admission:
    """Admits requests and finds the store they are for."""

    def __init__(self, node: Node) -> None:
        """Admit requests to `node`."""
        self.node = node
        self._stores = [EmbeddedMetastore(node, space) for space in SPACES]
        self._learner = False
        self._leaderless: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        self._lost: asyncio.Future[None] = self._loop.create_future()
        node.on_status(self._status_changed)
        self._status_changed(node.status())

    def read(self, context: Context, *, serializable: bool = False) -> EmbeddedMetastore:
        """Return the store to read. Raises NO_LEADER when one is asked for, NOT_SUPPORTED_FOR_LEARNER."""
        space = self._admit(context)
        if self._learner and not serializable:
            raise MetastoreError(Fault.NOT_SUPPORTED_FOR_LEARNER)
        return self._stores[space]

    def write(self, context: Context) -> EmbeddedMetastore:
        """Return the store to write. Raises PERMISSION_DENIED for a keyspace that is not etcd's."""
        space = self._admit(context)
        if space != ETCD_SPACE:
            raise MetastoreError(None, grpc.StatusCode.PERMISSION_DENIED, _READ_ONLY.format(space))
        if self._learner:
            raise MetastoreError(Fault.NOT_SUPPORTED_FOR_LEARNER)
        return self._stores[space]

    def transact(self, context: Context, request: pb.TxnRequest) -> EmbeddedMetastore:
        """Return the store for a transaction: one that only reads is a read."""
        return self.read(context) if checks.is_read_only(request) else self.write(context)

    def space(self, context: Context, *, learner: bool) -> int:
        """Return the keyspace asked for; `learner` says whether a learner may answer."""
        space = self._admit(context)
        if self._learner and not learner:
            raise MetastoreError(Fault.NOT_SUPPORTED_FOR_LEARNER)
        return space

    def stream(self, context: Context, requests: AsyncIterator[Request]) -> AsyncIterator[Request]:
        """Return a stream's requests; they end with NO_LEADER once the leader it asks for is gone for long."""
        for key, value in context.invocation_metadata() or ():
            if key == _LEADER_KEY and value == "true":
                return self._while_led(requests)
        return requests

    def _admit(self, context: Context) -> int:
        space = ETCD_SPACE
        for key, value in context.invocation_metadata() or ():
            if key == _LEADER_KEY:
                if value == "true" and not self.node.has_leader:
                    raise MetastoreError(Fault.NO_LEADER)
            elif key == _SPACE_KEY:
                if value not in ("0", "1"):
                    raise MetastoreError(None, grpc.StatusCode.INVALID_ARGUMENT, _UNKNOWN_SPACE.format(value))
                space = int(value)
        return space

    async def _while_led(self, requests: AsyncIterator[Request]) -> AsyncIterator[Request]:
        coming: asyncio.Future[Request] | None = None
        try:
            while True:
                coming = asyncio.ensure_future(_next(requests))
                both: set[asyncio.Future[Any]] = {coming, self._lost}
                await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
                if not coming.done():
                    raise MetastoreError(Fault.NO_LEADER)
                try:
                    request = coming.result()
                except StopAsyncIterationError:
                    return
                yield request
        finally:
            if coming is not None:
                coming.cancel()

    def _status_changed(self, status: Status) -> None:
        me = status.members.get(status.member_id)
        self._learner = me is not None and me.learner
        if status.leader_id:
            if self._leaderless is not None:
                self._leaderless.cancel()
                self._leaderless = None
            if self._lost.done():
                self._lost = self._loop.create_future()
        elif self._leaderless is None and not self._lost.done():
            self._leaderless = self._loop.call_later(3 * self.node.config.election[1], self._declare_lost)

    def _declare_lost(self) -> None:
        self._leaderless = None
        if not self._lost.done():
            self._lost.set_result(None)


class StopAsyncIterationError(Exception):
    """The end of a stream, in a form that a future can carry."""


async def _next(requests: AsyncIterator[Request]) -> Request:
    try:
        return await anext(requests)
    except StopAsyncIteration:
        raise StopAsyncIterationError from None


async def refuse(context: Context, error: MetastoreError) -> NoReturn:
    """End a call with an error's code and text."""
    await context.abort(error.code, error.text)
    raise AssertionError("abort raises")
