"""What tests of the API look at."""

from __future__ import annotations

from dataclasses import dataclass

from google.protobuf.descriptor_pb2 import DescriptorProto


@dataclass(frozen=True)
class Method:
    """One rpc of a quartet service with its messages."""

    name: str
    """`quartet.files.v1.FileService.List`"""
    verb: str
    request: DescriptorProto
    response: DescriptorProto
