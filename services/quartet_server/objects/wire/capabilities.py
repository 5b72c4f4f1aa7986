"""What clients of the Remote Execution API are told we can do."""

from __future__ import annotations

from typing import Any

from grpc import aio
from quartet.wire.reapi import capabilities_pb2 as pb
from quartet.wire.reapi import capabilities_pb2_grpc, digests_pb2, semver_pb2

from quartet_server.objects.chunking import STANDARD
from quartet_server.objects.digest import LARGEST
from quartet_server.objects.wire.batches import BATCH_BYTES
from quartet_server.objects.zones import Zones

Context = aio.ServicerContext[Any, Any]

_CAPABILITIES = pb.ServerCapabilities(
    cache_capabilities=pb.CacheCapabilities(
        digest_functions=[digests_pb2.DigestFunction.SHA256],
        max_batch_total_size_bytes=BATCH_BYTES,
        symlink_absolute_path_strategy=pb.SymlinkAbsolutePathStrategy.ALLOWED,
        supported_compressors=[digests_pb2.Compressor.ZSTD],
        supported_batch_update_compressors=[digests_pb2.Compressor.ZSTD],
        max_cas_blob_size_bytes=LARGEST,
        split_blob_support=True,
        splice_blob_support=True,
        fast_cdc_2020_params=digests_pb2.FastCdc2020Params(avg_chunk_size_bytes=STANDARD.average, seed=STANDARD.seed),
    ),
    deprecated_api_version=semver_pb2.SemVer(major=2),
    low_api_version=semver_pb2.SemVer(major=2),
    high_api_version=semver_pb2.SemVer(major=2, minor=12),
)


class Capabilities(capabilities_pb2_grpc.CapabilitiesServicer):
    """Serves Capabilities: the same for every zone."""

    name = pb.DESCRIPTOR.services_by_name["Capabilities"].full_name

    def __init__(self, zones: Zones) -> None:
        """Answer for the zones that there are."""
        self._zones = zones

    def add_to(self, server: aio.Server) -> None:
        """Register the servicer."""
        capabilities_pb2_grpc.add_CapabilitiesServicer_to_server(self, server)

    async def GetCapabilities(self, request: pb.GetCapabilitiesRequest, context: Context) -> pb.ServerCapabilities:
        """Tell it."""
        await self._zones.of_instance(request.instance_name, context)
        return _CAPABILITIES
