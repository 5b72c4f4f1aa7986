"""Leadership handed over under load."""

from __future__ import annotations

import grpc
from faults.observer import reach
from faults.scene import Scene

from raftmeta.etcd import rpc_pb2 as pb
from raftmeta.etcd import rpc_pb2_grpc as stubs


class Transfer:
    """MoveLeader to a member that is drawn, as often as the dwell allows, once at least."""

    def __init__(self) -> None:
        """Nothing is handed over yet."""
        self._moves: list[tuple[str, str]] = []

    async def inject(self, scene: Scene) -> None:
        """See `Injection`."""
        await scene.lasting(self._move(scene))

    async def _move(self, scene: Scene) -> None:
        async def moved() -> tuple[str, str] | None:
            leader, term = await scene.observer.leader()
            [target] = scene.cluster.choose(scene.dice, leader=leader)
            request = pb.MoveLeaderRequest(targetID=await scene.observer.member_id(target))
            try:
                await stubs.MaintenanceStub(scene.observer.channel(leader)).MoveLeader(request, timeout=10)
            except grpc.RpcError:
                return None
            now, later = await scene.observer.leader(above=term)
            return (scene.cluster.names[leader], scene.cluster.names[now]) if now == target and later > term else None

        for _ in range(max(1, round(scene.dwell))):
            self._moves.append(await reach("a transfer of leadership", moved))

    async def heal(self, scene: Scene) -> None:
        """Nothing to do."""

    async def proof(self, scene: Scene) -> str:
        """Who handed over to whom, each in a new term."""
        return ", ".join(f"{source} to {target}" for source, target in self._moves)
