"""Event logs of Nexus: JSON lines, `~/nexus/state/events/*.jsonl`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from quartet_server.importers import times
from quartet_server.importers.contract import Kind, Options, Reader
from quartet_server.importers.faults import Faults, UnfitError
from quartet_server.importers.files import LineReader, found, sniffed
from quartet_server.importers.items import Event
from quartet_server.importers.lines import Line
from quartet_server.importers.text import NAME, clean, cut, fit_id, kept, name, parse

LONGEST = 2 << 20
"""Bytes of a line, as Nexus itself reads them."""
_WHAT = "a directory of Nexus event logs (*.jsonl), as ~/nexus/state/events, or one of them"
_KEPT = ("seq", "source", "event_type", "command_path", "invocation_kind", "stream", "status", "error", "argv", "cwd")


def readers(path: Path, options: Options, faults: Faults) -> Iterator[Reader]:
    """Return a reader for each log."""
    for file in sniffed(found(path, lambda name: name.endswith(".jsonl"), _WHAT), looks, _WHAT, faults):
        yield LineReader("nexus", file, faults, partial(events, options=options, faults=faults), LONGEST)


def looks(value: Any) -> bool:
    """Tell whether a line may be one of Nexus'."""
    return isinstance(value, dict) and "session_id" in value and "ts" in value


def events(line: Line, options: Options, faults: Faults) -> Iterator[Event]:
    """Yield the event of a line. Raises UnfitError."""
    entry = parse(line.data)
    if not isinstance(entry, dict):
        raise UnfitError("the line is no JSON object")
    origin = clean(entry.get("source"))
    if options.source and origin != options.source:
        faults.skip()
        return
    id_, session = _required(entry, "id"), _required(entry, "session_id")
    channel = "nexus_agent" if "agent" in origin else "nexus"
    metadata = kept({"nexus": {key: entry.get(key) for key in _KEPT if entry.get(key) not in (None, "", [])}})
    if not entry.get("ts"):
        raise UnfitError("it has no ts")
    yield Event(
        source="nexus",
        source_id=fit_id(id_),
        timestamp=times.unix(entry["ts"]),
        direction="observed",
        from_channel=channel,
        from_identifier=name(origin) or "nexus",
        content=cut(clean(json.dumps(entry, ensure_ascii=False, separators=(",", ":"))), metadata),
        thread_id=fit_id(f"nexus_session:{session}", NAME),
        metadata=metadata | {"thread_name": origin or "nexus"},
    )


def _required(entry: dict[str, Any], key: str) -> str:
    value = entry.get(key)
    if not isinstance(value, str) or not value:
        raise UnfitError(f"it has no {key}")
    return value


NEXUS = Kind("nexus", _WHAT, readers)
