"""`quartet zone`: the tenants of the cluster, the nodes on which their records live, and how they move."""

from __future__ import annotations

import time
from typing import Annotated, Any

from cyclopts import App, Parameter
from quartet import Client
from quartet.cluster.v1 import cluster_pb2 as pb

from quartet_server.cli.connection import Endpoints, connected
from quartet_server.cli.output import CommandError, Output, print_json, print_table, say

_STEPS = {
    pb.ZONE_MOVE_STEP_UNSPECIFIED: "waiting",
    pb.ZONE_MOVE_STEP_COPY: "copying",
    pb.ZONE_MOVE_STEP_COMPARE: "comparing",
}
_LOOK = 0.2  # seconds between two questions how far a move is
_TELL = 1.0


def register(app: App) -> None:
    """Add the commands to `app`."""
    zone = App(name="zone", help="Zones (tenants) of the cluster.")
    app.command(zone)

    @zone.command(name="list")
    def list_zones(*, endpoints: Endpoints = None, output: Output = "table") -> None:
        """List the zones, where their records live, and where those are going.

        **Example**: `quartet zone list`
        """
        with connected(endpoints) as client:
            rows = [_zone(one) for one in client.cluster.list_zones()]
        if output == "json":
            print_json(rows)
        else:
            print_table(rows, ("name", "home", "moving_to", "create_time"))

    @zone.command(name="create")
    def create_zone(
        name: str,
        /,
        *,
        home: Annotated[str, Parameter(help="Node where its records live; default: the one that is called.")] = "",
        endpoints: Endpoints = None,
        output: Output = "table",
    ) -> None:
        """Create a zone.

        **Example**: `quartet zone create red`
        """
        with connected(endpoints) as client:
            made = client.cluster.create_zone(name, home)
        if output == "json":
            print_json(_zone(made))

    @zone.command(name="move")
    def move_zone(
        name: str,
        node: str,
        /,
        *,
        wait: Annotated[bool, Parameter(negative="--no-wait", help="Return when it is there.")] = True,
        endpoints: Endpoints = None,
        output: Output = "table",
    ) -> None:
        """Move the records of zone NAME to NODE. They can be read all the while, and written again when they are there.

        The nodes go on with it when this command is interrupted, or one of them crashes; `quartet zone stop` gives it up.

        **Example**: `quartet zone move red n2`
        """
        with connected(endpoints) as client:
            moved = client.cluster.move_zone(name, node)
            to = moved.move.to if moved.HasField("move") else moved.home
            if wait:
                moved = _follow(client, moved)
        if output == "json":
            print_json(_zone(moved))
        if wait and moved.home != to:
            raise CommandError(f"zone {name} has stayed on {moved.home}: the move was given up", "quartet node list")
        if output != "json":
            say(f"zone {name} lives on {moved.home}" if wait else f"zone {name} moves to {to}")

    @zone.command(name="stop")
    def stop_move(name: str, /, *, endpoints: Endpoints = None, output: Output = "table") -> None:
        """Give up the move of zone NAME: it stays where it is and takes writes again.

        **Example**: `quartet zone stop red`
        """
        with connected(endpoints) as client:
            stayed = client.cluster.stop_zone_move(name)
        if output == "json":
            print_json(_zone(stayed))
        else:
            say(f"zone {name} stays on {stayed.home}")


def _follow(client: Client, zone: pb.Zone) -> pb.Zone:
    """Tell how far a move is until it is over, however that ends; the nodes bound the time."""
    told, at = "", 0.0
    while zone.HasField("move"):
        move, now = zone.move, time.monotonic()
        text = f"{zone.name} to {move.to}: {_STEPS.get(move.step, '')}, {move.rows} of {move.total_rows} rows"
        text += f" ({move.problem})" if move.problem else ""
        if text != told and now - at >= _TELL:
            say(text)
            told, at = text, now
        time.sleep(_LOOK)
        zone = client.cluster.get_zone(zone.name)
    return zone


def _zone(zone: pb.Zone) -> dict[str, Any]:
    move = zone.move if zone.HasField("move") else None
    return {
        "name": zone.name,
        "home": zone.home,
        "create_time": zone.create_time.ToJsonString() if zone.HasField("create_time") else None,
        "revision": zone.revision,
        "moves": zone.moves,
        "moving_to": move.to if move else None,
        "step": _STEPS.get(move.step, "") if move else None,
        "rows": move.rows if move else None,
        "total_rows": move.total_rows if move else None,
        "problem": move.problem if move else None,
    }
