"""Every method of every service is sent broken bytes and well-formed nonsense: nobody crashes, forgets or disagrees."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from random import Random

import grpc
import pytest
from fuzz import hostile
from fuzz.budget import rounds
from fuzz.methods import Answer, etcd_methods, path_of, reflected_methods, send
from fuzz.mutation import mutate
from fuzz.targets import Target, quartet_nodes, raftmeta_members, reaches_kept
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass
from grpc import aio
from quartet.agents.v1 import agents_pb2
from quartet.cluster.peers.v1 import peers_pb2 as transfers_pb2
from quartet.cluster.v1 import cluster_pb2
from quartet.events.v1 import events_pb2
from quartet.files.v1 import files_pb2
from quartet.maintenance.v1 import maintenance_pb2
from quartet.mounts.v1 import mounts_pb2
from quartet.objects.peers.v1 import peers_pb2
from quartet.objects.replicas.v1 import replicas_pb2
from quartet.objects.v1 import objects_pb2
from quartet.ops.v1 import ops_pb2
from quartet.parsed.v1 import parsed_pb2
from quartet.projects.v1 import service_pb2 as projects_pb2
from quartet.settings.v1 import settings_pb2
from quartet.snapshots.v1 import snapshots_pb2
from quartet.versions.v1 import versions_pb2
from quartet.wire.reapi import bytestream_pb2, capabilities_pb2, cas_pb2
from quartet.workspaces.v1 import workspaces_pb2

UNREADABLE = ("grpc: error unmarshalling request", "grpc: failed to unmarshal the received message")
"""What etcd says, with INTERNAL, to bytes that are no message of the method's type; Quartet's services say it better."""
EACH = 6
"""Requests of each kind to each method in a round."""
AT_ONCE = 24
METADATA = (
    (),
    (("raftmeta-space", "1"),),
    (("raftmeta-space", "-1"),),
    (("raftmeta-space", "1" * 5000),),
    (("hasleader", "true"),),
    (("hasleader", "TRUE"), ("hasleader", "true")),
    (("quartet-zone", "../" * 50), ("quartet-request-id", "x" * 200)),
    (("quartet-zone", "nosuch"),),
    (("quartet-request-id", "~~~"), ("grpc-previous-rpc-attempts", "-1")),
    (("quartet-zone-bin", b"\xff\x00"), ("x-bin", b"\x00" * 500)),
    (("authorization", "Bearer " + "a" * 3000), ("token", "a.1")),
)


@pytest.fixture(scope="module", params=["quartet", "raftmeta"])
def target(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """Three nodes of Quartet, or one member of raftmeta alone, whose port has no interceptor of Quartet's."""
    directory = tmp_path_factory.mktemp(request.param)
    start = quartet_nodes(directory, 3) if request.param == "quartet" else raftmeta_members(directory, 1)
    with start as running:
        yield running


def methods_of(target: Target) -> list[MethodDescriptor]:
    return reflected_methods(target.endpoints[0]) if target.quartet else etcd_methods()


def harmless(method: MethodDescriptor, request: bytes) -> bool:
    """Tell whether the bytes do not happen to ask, validly, for a change of what must stay."""
    try:
        return not reaches_kept(GetMessageClass(method.input_type).FromString(request))
    except DecodeError:
        return True


def requests_of(method: MethodDescriptor, dice: Random) -> Iterator[list[bytes]]:
    """Yield calls, each as the requests it sends."""
    whole = [hostile.message(method.input_type, dice).SerializeToString() for _ in range(EACH)]
    broken = [mutate(one, dice, whole) for one in whole]
    everything = [one for one in (*whole, *broken) if harmless(method, one)]
    if not method.client_streaming:
        yield from ([one] for one in everything)
        return
    while everything:
        count = dice.randint(1, 4)
        yield everything[:count]
        del everything[:count]


def is_wrong(method: MethodDescriptor, answer: Answer) -> bool:
    """Tell whether a status is one that no request may get."""
    code, text = answer
    assert method.containing_service is not None
    if code in (grpc.StatusCode.UNKNOWN, grpc.StatusCode.DEADLINE_EXCEEDED):
        return True
    foreign = not method.containing_service.full_name.startswith("quartet.")
    return code is grpc.StatusCode.INTERNAL and not (foreign and text.startswith(UNREADABLE))


async def attack(target: Target, methods: list[MethodDescriptor], dice: Random) -> tuple[Counter[str], list[str]]:
    """Send one round to all methods, over all ports; return how often each was called, and what was answered wrongly."""
    sent: Counter[str] = Counter()
    wrong: list[str] = []
    work = [(method, requests) for method in methods for requests in requests_of(method, dice)]
    dice.shuffle(work)
    channels = [aio.insecure_channel(endpoint) for endpoint in target.endpoints]

    async def worker() -> None:
        while work:
            method, requests = work.pop()
            channel, metadata = dice.choice(channels), dice.choice(METADATA) if dice.random() < 0.2 else ()
            answer = await send(channel, method, requests, metadata)
            sent[path_of(method)] += 1
            if is_wrong(method, answer):
                wrong.append(f"{path_of(method)} {[one[:60] for one in requests]} {metadata}: {answer}")

    try:
        await asyncio.gather(*(worker() for _ in range(AT_ONCE)))
    finally:
        for channel in channels:
            await channel.close()
    return sent, wrong


def test_hostile_requests_to_every_method_harm_nobody(target: Target) -> None:
    methods = methods_of(target)
    for seed, dice in rounds(3 if target.quartet else 2, 0.2):
        sent, wrong = asyncio.run(attack(target, methods, dice))
        assert wrong == [], seed
        assert set(sent) == {path_of(method) for method in methods}
        target.check()


def test_reflection_lists_every_service_there_is(tmp_path: pytest.TempPathFactory, target: Target) -> None:
    if not target.quartet:
        pytest.skip("raftmeta alone offers no reflection; its services are those of its descriptors")
    files = (
        agents_pb2,
        cluster_pb2,
        events_pb2,
        files_pb2,
        maintenance_pb2,
        mounts_pb2,
        objects_pb2,
        ops_pb2,
        parsed_pb2,
        peers_pb2,
        replicas_pb2,
        projects_pb2,
        settings_pb2,
        snapshots_pb2,
        transfers_pb2,
        versions_pb2,
        workspaces_pb2,
        bytestream_pb2,
        capabilities_pb2,
        cas_pb2,
    )
    ours = {service.full_name for file in files for service in file.DESCRIPTOR.services_by_name.values()}
    etcd = {method.containing_service.full_name for method in etcd_methods() if method.containing_service}
    others = {"grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"}
    listed = {method.containing_service.full_name for method in methods_of(target) if method.containing_service}
    assert listed == ours | etcd | others
