"""What is public is exported, and what operators rely on is written down: keys, metrics, services."""

from __future__ import annotations

import ast
import importlib
from dataclasses import fields
from pathlib import Path

import pytest
from quartet_server.config import SERVICES, Config
from quartet_server.node import DOMAINS, start_in_memory

SERVER = Path(__file__).parents[2] / "services" / "quartet_server"
DESIGN = (SERVER / "DESIGN.md").read_text()
PACKAGES = ["quartet_server.rpc", "quartet_server.cli"]


@pytest.mark.parametrize("name", PACKAGES)
def test_a_package_exports_exactly_what_it_imports_for_others(name: str) -> None:
    module = importlib.import_module(name)
    assert module.__file__ is not None
    tree = ast.parse(Path(module.__file__).read_text())
    imported = [alias.name for node in tree.body if isinstance(node, ast.ImportFrom) for alias in node.names]
    assert sorted(module.__all__) == sorted(imported)
    assert all(hasattr(module, export) for export in module.__all__)


@pytest.mark.parametrize("path", sorted(SERVER.rglob("*.py")), ids=lambda path: str(path.relative_to(SERVER)))
def test_a_file_is_one_concept_that_says_what_it_is(path: Path) -> None:
    text = path.read_text()
    assert ast.get_docstring(ast.parse(text))
    assert len(text.splitlines()) <= 500


@pytest.mark.parametrize(
    ("section", "key"), [(s.name, k.name) for s in fields(Config) for k in fields(getattr(Config(), s.name))]
)
def test_every_key_of_the_configuration_is_in_the_reference(section: str, key: str) -> None:
    assert f"`{section}.{key}`" in DESIGN


def test_every_service_that_can_be_named_can_be_started() -> None:
    assert tuple(DOMAINS) == SERVICES


async def test_every_metric_of_ours_is_in_the_reference() -> None:
    async with await start_in_memory() as node:
        names = {family.name for family in node.registry.collect()}
    ours = {name for name in names if name.startswith(("grpc_server_", "quartet_"))}
    assert len(ours) > 20
    missing = {name for name in ours if f"`{name}" not in DESIGN}
    assert missing == set()
