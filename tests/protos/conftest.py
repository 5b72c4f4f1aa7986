"""The API as one descriptor image with comments, compiled from the protos of this checkout."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from harness.protos import Method

PROTOS = Path(__file__).parents[2] / "protos"


@pytest.fixture(scope="session")
def gen() -> ModuleType:
    """`protos/gen.py`, which is a script and no package."""
    spec = importlib.util.spec_from_file_location("gen", PROTOS / "gen.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def image(gen: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> FileDescriptorSet:
    """All protos and what they import."""
    compiled = gen.image(tmp_path_factory.mktemp("image") / "image.binpb", comments=True)
    assert isinstance(compiled, FileDescriptorSet)
    return compiled


@pytest.fixture(scope="session")
def own(image: FileDescriptorSet) -> list[FileDescriptorProto]:
    """The files that are ours, googleapis' left out."""
    files = [file for file in image.file if file.name.startswith(("quartet/", "raftmeta/"))]
    assert len(files) > 4
    return files


@pytest.fixture(scope="session")
def methods(image: FileDescriptorSet) -> list[Method]:
    """Every rpc of the services in `quartet.*`."""
    messages = {f".{file.package}.{message.name}": message for file in image.file for message in file.message_type}
    found = [
        Method(
            f"{file.package}.{service.name}.{method.name}",
            method.name,
            messages[method.input_type],
            messages[method.output_type],
        )
        for file in image.file
        if file.package.startswith("quartet.")
        for service in file.service
        for method in service.method
    ]
    assert found
    return found
