"""What readers make of foreign data, as JSON that can be compared and read."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from quartet_server.importers.contract import Options
from quartet_server.importers.faults import Faults
from quartet_server.importers.items import Item
from quartet_server.importers.kinds import KINDS

from harness import foreign

FIXTURES = Path(__file__).parents[1] / "records/importing/fixtures"
ME = frozenset({"ada@example.org"})
FILES = {
    "nexus": "nexus",
    "claude-code": "claude",
    "codex": "codex",
    "gmail": "gmail",
    "slack": "slack",
    "mbox": "mbox",
}
DATABASES: dict[str, Callable[[Path], Path]] = {
    "imessage": foreign.chat_db,
    "aix": foreign.aix_db,
    "aix-events": foreign.aix_db,
    "cortex": foreign.cortex_db,
}


def source(kind: str, directory: Path) -> Path:
    """Something of a kind to import: a fixture, or a database made below `directory`."""
    return FIXTURES / FILES[kind] if kind in FILES else DATABASES[kind](directory / f"{kind}.db")


def read(kind: str, path: Path, marks: dict[str, str] | None = None) -> tuple[list[Item], Faults]:
    """All that a path bears; `marks` are those of an earlier run, and become those of this one."""
    faults, items = Faults(), list[Item]()
    for reader in KINDS[kind].open(path, Options(me=ME), faults):
        if marks is not None:
            reader.resume(marks.get(reader.name, ""))
        items += reader.read()
        if marks is not None:
            marks[reader.name] = reader.mark()
        assert reader.position <= max(reader.size, reader.position)
        reader.close()
    return items, faults


def shown(value: Any) -> Any:
    """An item as JSON, without what is empty, and what is long as its length."""
    if dataclasses.is_dataclass(value):
        fields = ((field.name, shown(getattr(value, field.name))) for field in dataclasses.fields(value))
        row = {"is": type(value).__name__} | {key: one for key, one in fields if one not in (None, "", [], {}, 0)}
        return row if len(row) > 1 else {}
    if isinstance(value, list | tuple):
        return [shown(one) for one in value]
    if isinstance(value, str) and len(value) > 2000:
        return f"{value[:40]}… {len(value)} characters"
    return value


def golden(kind: str, directory: Path) -> tuple[str, str]:
    """What a kind's fixture bears and what it should bear, one JSON object on each line."""
    items, faults = read(kind, source(kind, directory))
    rows = [*(shown(item) for item in items), faults.row()]
    made = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    path = FIXTURES / "expected" / f"{kind}.jsonl"
    return made, path.read_text() if path.exists() else ""
