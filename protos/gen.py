"""Generate Python stubs from the protos, and hold the API to its word: `python protos/gen.py [COMMAND]`.

    stubs     write the stubs into the source tree (the default)
    check     fail unless the committed stubs, and the committed image, are what the protos say
    lint      buf lint
    breaking  buf breaking against the committed image
    accept    make the present API the committed image

`protos/raftmeta/**` goes to `raftmeta/`, `protos/quartet/**` to `clients/python/quartet/`: the proto root package is the
import package, so no import is ever rewritten. buf reads a compiled image instead of the sources: what protos import
from googleapis lies in the installed Python package, so it works offline and no foreign proto is kept here.
"""

from __future__ import annotations

import difflib
import importlib.util
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from grpc_tools import protoc

PROTOS = Path(__file__).resolve().parent
ROOT = PROTOS.parent
ACCEPTED = PROTOS / "api.binpb"
KINDS = ("python", "grpc_python", "mypy", "mypy_grpc")
TARGETS = {"raftmeta": Path("."), "quartet": Path("clients/python")}


def _includes() -> list[str]:
    """Directories that hold google/protobuf (bundled with grpcio-tools) and google/rpc, google/api (googleapis)."""
    spec = importlib.util.find_spec("google.rpc")
    assert spec is not None, "install googleapis-common-protos"
    assert spec.submodule_search_locations is not None
    googleapis = Path(next(iter(spec.submodule_search_locations))).parents[1]
    tools = importlib.util.find_spec("grpc_tools")
    assert tools is not None
    assert tools.origin is not None
    return [f"-I{PROTOS}", f"-I{googleapis}", f"-I{Path(tools.origin).parent / '_proto'}"]


def _protoc(*arguments: str) -> None:
    """Run protoc; exits with its status when it fails, after it has said why."""
    if status := int(protoc.main(["protoc", *_includes(), *arguments])):
        raise SystemExit(status)


def sources(package: str) -> list[str]:
    """Return the protos below `protos/PACKAGE`, as paths relative to `protos/`."""
    return sorted(str(path.relative_to(PROTOS)) for path in (PROTOS / package).rglob("*.proto"))


def stubs(output: Path) -> None:
    """Write every stub below `output`, which stands for the root of the source tree."""
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # where protoc-gen-mypy is
    for package, target in TARGETS.items():
        files = sources(package)
        out = output / target
        out.mkdir(parents=True, exist_ok=True)
        _protoc(*(f"--{kind}_out={'quiet:' * ('mypy' in kind)}{out}" for kind in KINDS), *files)
        for file in files:
            folder = (out / file).parent
            while folder != out / package:
                (folder / "__init__.py").touch()
                folder = folder.parent
        for stub in (out / package).rglob("*_pb2_grpc.py"):
            if "Stub" not in stub.read_text():  # a file without services needs no gRPC stub
                stub.unlink()
                stub.with_suffix(".pyi").unlink(missing_ok=True)


def image(output: Path, *, comments: bool) -> FileDescriptorSet:
    """Compile all protos and what they import into one descriptor image at `output`, and return it.

    With `comments` it carries source locations, which lint needs; without, it changes only when the API does.
    """
    info = ["--include_source_info"] if comments else []
    files = [file for package in TARGETS for file in sources(package)]
    _protoc("--include_imports", *info, f"--descriptor_set_out={output}", *files)
    return FileDescriptorSet.FromString(output.read_bytes())


def _own(descriptors: FileDescriptorSet) -> dict[str, FileDescriptorProto]:
    """Leave out what googleapis owns: it changes with the installed version, not with our API."""
    return {file.name: file for file in descriptors.file if file.name.split("/")[0] in TARGETS}


def check() -> int:
    """Say which committed stubs differ from the protos, and whether the image does; returns 1 if any did."""
    wrong = []
    with tempfile.TemporaryDirectory() as directory:
        fresh = Path(directory)
        stubs(fresh)
        for package, target in TARGETS.items():
            here, there = ROOT / target / package, fresh / target / package
            names = {path.relative_to(side) for side in (here, there) for path in side.rglob("*_pb2*.py*")}
            for name in sorted(name for name in names if name.suffix in (".py", ".pyi")):
                old, new = (
                    (side / name).read_text().splitlines() if (side / name).exists() else [] for side in (here, there)
                )
                if old != new:
                    wrong.append(f"{target / package / name} is not what the protos say: run `make gen`")
                    wrong += list(difflib.unified_diff(old, new, "committed", "generated", lineterm="", n=1))[:12]
        current = _own(image(fresh / "image.binpb", comments=False))
    if current != _own(FileDescriptorSet.FromString(ACCEPTED.read_bytes())):
        wrong.append(
            f"{ACCEPTED.relative_to(ROOT)} is not what the protos say: run `make api-accept` if the change is meant"
        )
    print("\n".join(wrong or ["stubs and image are current"]))
    return bool(wrong)


def buf(command: str, *arguments: str) -> int:
    """Run a buf command over a fresh image under the rules of buf.yaml; returns its exit status."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "image.binpb"
        image(path, comments=True)
        tool = Path(sys.executable).with_name("buf")
        return subprocess.run(
            [tool, command, path, "--config", PROTOS / "buf.yaml", *arguments], check=False
        ).returncode


def main(command: str = "stubs") -> int:
    """Run one of the commands of the module's docstring; returns the exit status."""
    match command:
        case "stubs":
            stubs(ROOT)
        case "check":
            return check()
        case "lint":
            return buf("lint")
        case "breaking":
            return buf("breaking", "--against", str(ACCEPTED))
        case "accept":
            image(ACCEPTED, comments=False)
        case _:
            print(__doc__, file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
