"""The files of this checkout, as tests of the house read them."""

from __future__ import annotations

import ast
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]


@cache
def tracked() -> tuple[Path, ...]:
    """Return every file that git knows and that is there, relative to the root."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return tuple(Path(name) for name in sorted(set(listed.split("\0")) - {""}) if (ROOT / name).is_file())


def is_generated(path: Path) -> bool:
    """Tell whether a program wrote the file."""
    return "_pb2" in path.name or path.name in ("uv.lock", "api.binpb")


def written(*folders: str, suffixes: tuple[str, ...] = (".py",)) -> list[Path]:
    """Return the hand-written files below `folders` (all files if none is named) with one of `suffixes`."""
    chosen = [path for path in tracked() if not folders or str(path).startswith(folders)]
    return [path for path in chosen if path.suffix in suffixes and not is_generated(path)]


@cache
def tree(path: Path) -> ast.Module:
    """Return a Python file's syntax tree."""
    return ast.parse((ROOT / path).read_text(), filename=str(path))


def imports(path: Path) -> Iterator[str]:
    """Yield the full name of everything that a Python file imports, wherever in the file; relative ones resolved."""
    package = list(path.with_suffix("").parts[:-1])
    for root in (["clients", "python"], ["services"], ["tests"]):
        if package[: len(root)] == root:
            package = package[len(root) :]
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield from (f"{module}.{alias.name}" for alias in node.names)
