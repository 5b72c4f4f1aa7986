"""Message types that a test makes up: a text of a proto becomes classes, in a pool of their own."""

from __future__ import annotations

import hashlib
from pathlib import Path

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import Message
from grpc_tools import protoc

_ROOT = Path(__file__).resolve().parents[2]
_HEAD = """syntax = "proto3";
package {package};
import "google/api/field_behavior.proto";
import "google/protobuf/struct.proto";
import "google/protobuf/timestamp.proto";
import "quartet/options/v1/options.proto";
"""


def compiled(body: str, folder: Path) -> dict[str, type[Message]]:
    """Compile `body`, messages of a proto, and return their classes by name; files go into `folder`.

    They are in the process's own pool, since options are extensions that are known there; each body has a package of its own.
    """
    package = f"test.made.p{hashlib.sha256(body.encode()).hexdigest()[:16]}"
    source = folder / f"{package}.proto"
    source.write_text(_HEAD.format(package=package) + body)
    image = folder / f"{package}.binpb"
    googleapis = Path(_module("google.rpc")).parents[1]
    wanted = [f"-I{folder}", f"-I{_ROOT / 'protos'}", f"-I{googleapis}", f"-I{Path(protoc.__file__).parent / '_proto'}"]
    assert protoc.main(["protoc", *wanted, f"--descriptor_set_out={image}", str(source)]) == 0
    made = descriptor_pb2.FileDescriptorSet.FromString(image.read_bytes()).file[0]
    pool = descriptor_pool.Default()
    try:
        file = pool.FindFileByName(made.name)
    except KeyError:
        pool.AddSerializedFile(made.SerializeToString())
        file = pool.FindFileByName(made.name)
    return {name: message_factory.GetMessageClass(one) for name, one in file.message_types_by_name.items()}


def _module(name: str) -> str:
    import importlib.util

    spec = importlib.util.find_spec(name)
    assert spec is not None
    assert spec.submodule_search_locations is not None
    return next(iter(spec.submodule_search_locations))
