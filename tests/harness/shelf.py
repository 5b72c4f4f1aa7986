"""Records with columns of every kind, and a service for them: shelf.proto, compiled when the tests run."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import tempfile
from pathlib import Path
from typing import Any

from grpc_tools import protoc
from quartet_server.records.schema import Schema, schema

_HERE = Path(__file__).parent
_PROTOS = _HERE.parents[1] / "protos"


def _compiled() -> tuple[Any, Any]:
    """Return the modules that protoc and its plugin make of shelf.proto."""
    google, tools = importlib.util.find_spec("google.api"), importlib.util.find_spec("grpc_tools")
    assert google is not None
    assert google.submodule_search_locations is not None
    assert tools is not None
    assert tools.origin is not None
    googleapis = Path(next(iter(google.submodule_search_locations))).parents[1]
    includes = [_HERE, _PROTOS, googleapis, Path(tools.origin).parent / "_proto"]
    with tempfile.TemporaryDirectory() as out:
        done = protoc.main(
            [
                "protoc",
                *(f"-I{path}" for path in includes),
                f"--python_out={out}",
                f"--grpc_python_out={out}",
                "shelf.proto",
            ]
        )
        assert not done, "shelf.proto does not compile"
        sys.path.insert(0, out)
        try:
            return importlib.import_module("shelf_pb2"), importlib.import_module("shelf_pb2_grpc")
        finally:
            sys.path.remove(out)


pb, pb_grpc = _compiled()

SCHEMA: Schema = schema("shelf", owner="ShelfService", messages=(pb.Shelf, pb.Book, pb.Copy))
SHELVES, BOOKS, COPIES = (SCHEMA.record(message) for message in (pb.Shelf, pb.Book, pb.Copy))
