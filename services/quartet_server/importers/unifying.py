"""The rest of bringing cortex.db into the one ledger: documents, watermarks, links of episodes, and the proof that all is there."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from quartet.events.v1 import documents_pb2, event_pb2

from quartet_server.importers import cortex, times, wire
from quartet_server.importers.cortex_drop import drop, state_of
from quartet_server.importers.faults import Faults, UnfitError
from quartet_server.importers.ledger import Ledger
from quartet_server.importers.sqlite import Row, Source
from quartet_server.importers.tally import Tally
from quartet_server.importers.text import NAME, clean, fit, fit_id, kept, name, parse

_GROUP = 500
_HEAD = (
    "doc_key",
    "channel",
    "current_event_id",
    "content_hash",
    "title",
    "description",
    "metadata_json",
    "retrieval_count",
)
_RETRIEVAL = ("doc_key", "event_id", "query_text", "score", "retrieved_at")
_LINKED = {
    "threads": ("id", "channel", "name", "is_group", "source_adapter", "source_id", "parent_thread_id", "created_at", "updated_at"),
    "episode_definitions": ("id", "name", "channel", "strategy", "config_json", "description", "created_at", "updated_at"),
    "episodes": ("id", "definition_id", "channel", "thread_id", "start_time", "end_time", "event_count", "first_event_id", "last_event_id"),
    "episode_events": ("episode_id", "event_id", "position"),
    "conversation_definitions": ("id", "name", "channel", "strategy", "config_json", "description"),
    "conversations": ("id", "definition_id", "channel", "thread_id", "start_time", "end_time", "event_count", "first_event_id", "last_event_id"),
    "conversation_events": ("conversation_id", "event_id", "position"),
}  # fmt: skip
"""What is written beside the database: what refers to events, and what their thread_id refers to."""
_LINKS = ("episode_events", "conversation_events")


@dataclass(slots=True)
class Proof:
    """Events in the database and in the ledger, compared one by one.

    Attributes:
        rows: By adapter, how many the database has.
        found: By adapter, how many of these the ledger has, with the same content, time and direction.
        links: Links of episodes to events.
        dangling: Of these, those whose event the ledger has not.
    """

    rows: dict[str, int] = field(default_factory=dict)
    found: dict[str, int] = field(default_factory=dict)
    links: int = 0
    dangling: int = 0

    @property
    def whole(self) -> bool:
        """Whether everything is in the ledger."""
        return self.rows == self.found and not self.dangling

    def row(self) -> dict[str, Any]:
        """Return it as data."""
        return {
            "verified": self.whole,
            "source_events": sum(self.rows.values()),
            "ledger_events": sum(self.found.values()),
            "by_adapter": {key: [count, self.found.get(key, 0)] for key, count in self.rows.items()},
            "links": self.links,
            "links_dangling": self.dangling,
        }


class Unverified(Exception):  # noqa: N818
    """The tables of events stay where they are, since not everything in them was found in the ledger."""


def unify(
    ledger: Ledger, path: Path, tally: Tally, *, links: Path | None, drop_source: bool, whole: bool
) -> dict[str, Any]:
    """Bring over what is no event, and prove that the events are there, if all were to be (`whole`).

    With `drop_source` the tables are taken out of the database then. Raises Unverified, CallError, OSError, WrongKindError.
    """
    with cortex.opened(path) as source:
        if "events" not in source.tables:
            return {"verified": True, "dropped": True}
        known = _documents(ledger, source, tally.faults)
        known |= {"watermarks": _watermarks(ledger, source, tally.faults)}
        file = links or path.with_name(path.name + ".links.jsonl")
        written = _links(source, file)
        if not whole:
            return {**known, "links_file": str(file), "links": written, "dropped": False}
        state = source.state(state_of)
        proof = _proof(ledger, source)
    row = {**known, **proof.row(), "links_file": str(file), "dropped": False}
    if drop_source:
        if not proof.whole:
            raise Unverified(
                f"{sum(proof.found.values()):,} of {sum(proof.rows.values()):,} events and {proof.links - proof.dangling:,} of "
                f"{proof.links:,} links were found in the ledger as they are in {path}"
            )
        row |= {"dropped": True, "dropped_tables": drop(path, state)}
    return row


def _documents(ledger: Ledger, source: Source, faults: Faults) -> dict[str, int]:
    """Bring over documents the ledger has not, and that they were found."""
    documents = retrievals = 0
    for row in source.walk("document_heads", _HEAD, faults):
        key = fit_id(clean(row["doc_key"]), NAME)
        if ledger.document(key) is None:
            ledger.put_document(_head(row, key))
            documents += 1
    seen: dict[tuple[str, str], set[tuple[int, str]]] = {}
    for row in source.walk("retrieval_log", _RETRIEVAL, faults):
        log = documents_pb2.RetrievalLog(query_text=clean(row["query_text"]))
        try:
            log.retrieved_at.CopyFrom(wire.stamp(times.unix(row["retrieved_at"])))
        except UnfitError as error:
            faults.add(f"retrieval_log:{row['at']}", error)
            continue
        if clean(row["doc_key"]):
            log.doc_key = fit_id(clean(row["doc_key"]), NAME)
        if clean(row["event_id"]):
            log.event_id = clean(row["event_id"])
        if isinstance(row["score"], int | float):
            log.score = float(row["score"])
        of = (log.doc_key, "" if log.doc_key else log.event_id)
        if of not in seen:
            seen[of] = {_retrieved(one) for one in ledger.retrievals(*of)}
        if _retrieved(log) not in seen[of]:
            ledger.log_retrieval(log)
            retrievals += 1
    return {"documents": documents, "retrievals": retrievals}


def _retrieved(log: documents_pb2.RetrievalLog) -> tuple[int, str]:
    return log.retrieved_at.ToMicroseconds(), log.query_text


def _head(row: Row, key: str) -> documents_pb2.DocumentHead:
    try:
        metadata = parse(row["metadata_json"]) if isinstance(row["metadata_json"], str) else {}
    except ValueError:
        metadata = {"metadata_json": row["metadata_json"]}
    fitted = fit(metadata if isinstance(metadata, dict) else {"metadata_json": metadata})
    head = documents_pb2.DocumentHead(
        doc_key=key,
        channel=name(row["channel"]),
        current_event_id=clean(row["current_event_id"]),
        content_hash=name(row["content_hash"]) or "unknown",
        metadata=wire.struct(
            (fitted if isinstance(fitted, dict) else {}) | kept({"retrieval_count": row["retrieval_count"]})
        ),
    )
    if clean(row["title"]):
        head.title = clean(row["title"])
    if clean(row["description"]):
        head.description = clean(row["description"])
    return head


def _watermarks(ledger: Ledger, source: Source, faults: Faults) -> int:
    """Bring over how far Cortex' adapters were, unless the ledger knows more of them."""
    known = {one.adapter for one in ledger.watermarks("")}
    brought = 0
    for row in source.walk("sync_watermarks", ("adapter", "last_sync_at", "last_event_id"), faults):
        adapter = clean(row["adapter"])
        if adapter and fit_id(adapter, NAME) not in known:
            try:
                at = times.unix(row["last_sync_at"])
            except UnfitError as error:
                faults.add(f"sync_watermarks:{adapter}", error)
                continue
            ledger.set_watermark(fit_id(adapter, NAME), at, clean(row["last_event_id"]))
            brought += 1
    return brought


def _links(source: Source, file: Path) -> int:
    """Write what refers to events beside the database, for whoever keeps episodes; return how many links there are."""
    beside = file.with_name(f"{file.name}.part")
    count, faults = 0, Faults()
    with beside.open("w", encoding="utf-8") as out:
        for table, columns in _LINKED.items():
            for row in source.walk(table, columns, faults):
                values = {key: fit(row[key]) for key in columns if row[key] is not None}
                out.write(json.dumps({"table": table, **values}, ensure_ascii=False) + "\n")
                count += table in _LINKS
        out.flush()
        os.fsync(out.fileno())
    beside.replace(file)
    return count


def _proof(ledger: Ledger, source: Source) -> Proof:
    """Compare each event of the database with the ledger's."""
    proof, events, faults = Proof(), cortex.Events(source), Faults()
    for rows in _groups(source.walk("events", cortex.EVENT, faults)):
        there = {one.id: one for one in ledger.events([row["id"] for row in rows if isinstance(row["id"], str)])}
        for row in rows:
            adapter = clean(row["source_adapter"])
            proof.rows[adapter] = proof.rows.get(adapter, 0) + 1
            try:
                expected = wire.event(events.event(row))
            except UnfitError:
                continue
            if _same(expected, there.get(expected.id)):
                proof.found[adapter] = proof.found.get(adapter, 0) + 1
    for table in _LINKS:
        for rows in _groups(source.walk(table, ("event_id",), faults)):
            ids = [row["event_id"] for row in rows if isinstance(row["event_id"], str)]
            found = {one.id for one in ledger.events(list(dict.fromkeys(ids)))}
            proof.links += len(rows)
            proof.dangling += len(rows) - sum(id_ in found for id_ in ids)
    if faults.bad:
        proof.rows["unreadable"] = faults.bad
    return proof


def _groups(rows: Iterator[Row]) -> Iterator[Sequence[Row]]:
    group: list[Row] = []
    for row in rows:
        group.append(row)
        if len(group) == _GROUP:
            yield group
            group = []
    if group:
        yield group


def _same(expected: event_pb2.Event, there: event_pb2.Event | None) -> bool:
    keys = ("source", "source_id", "content", "timestamp", "direction", "thread_id")
    return there is not None and all(getattr(expected, key) == getattr(there, key) for key in keys)
