"""Which databases there are: the schema of each, by the service that owns it. The engine knows none of them."""

from __future__ import annotations

from collections.abc import Sequence

from quartet_server.events.schema import SCHEMA as EVENTS
from quartet_server.records.schema import Schema

SCHEMAS: dict[str, Schema] = {
    "events": EVENTS,
}
"""By the name of the service, which is the database's too."""


def schemas_for(services: Sequence[str]) -> list[Schema]:
    """Return the schemas of the databases that a node with `services` needs: each service's own."""
    return [SCHEMAS[name] for name in services if name in SCHEMAS]
