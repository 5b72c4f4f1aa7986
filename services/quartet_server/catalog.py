"""Which databases there are: the schema of each, by the service that owns it. The engine knows none of them."""

from __future__ import annotations

from collections.abc import Sequence

from quartet_server.agents import schema as agents
from quartet_server.events import rebuilding
from quartet_server.events import schema as events
from quartet_server.projects import schema as projects
from quartet_server.records.crossing import Backfill, Reference
from quartet_server.records.schema import Schema

SCHEMAS: dict[str, Schema] = {one.database: one for one in (agents.SCHEMA, events.SCHEMA, projects.SCHEMA)}
"""By the name of the service, which is the database's too."""

REFERENCES: tuple[Reference, ...] = (Reference("agents", "turns", "source_event_id", "events", "events"),)
"""Columns that name rows of other databases: what `quartet db check-references` looks at."""

BACKFILLS: tuple[Backfill, ...] = (
    Backfill(
        "events.derived", "events", "Derives threads, participants and attachments from the events.", rebuilding.step
    ),
)
"""Jobs that run over all rows of a zone: what `quartet db backfill` can do."""


def schemas_for(services: Sequence[str]) -> list[Schema]:
    """Return the schemas of the databases that a node with `services` needs: each service's own."""
    return [SCHEMAS[name] for name in services if name in SCHEMAS]
