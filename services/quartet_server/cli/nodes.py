"""`quartet node`: who is in the cluster."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any

from cyclopts import App, Parameter
from quartet.cluster.v1 import cluster_pb2 as pb

from quartet_server.cli.connection import Endpoints, connected
from quartet_server.cli.output import Output, print_json, print_table, say

_ROLE = "NODE_ROLE_"


def register(app: App) -> None:
    """Add the commands to `app`."""
    node = App(name="node", help="Members of the cluster.")
    app.command(node)

    @node.command(name="list")
    def list_nodes(*, endpoints: Endpoints = None, output: Output = "table") -> None:
        """List the nodes, who is alive, and who leads.

        **Example**: `quartet node list -o json`
        """
        with connected(endpoints) as client:
            topology = client.cluster.topology()
        rows = [_node(one) for one in topology.nodes]
        if output == "json":
            print_json({"leader": topology.leader_id, "term": topology.term, "nodes": rows})
        else:
            print_table(rows, ("name", "id", "role", "alive", "client_address", "peer_address", "version"))

    @node.command
    def transfer(
        to: Annotated[str, Parameter(help="Name or id; empty for the best follower.")] = "",
        /,
        *,
        endpoints: Endpoints = None,
        output: Output = "table",
    ) -> None:
        """Hand leadership to another node.

        **Example**: `quartet node transfer n2`
        """
        with connected(endpoints) as client:
            done = client.cluster.transfer_leadership(to)
        if output == "json":
            print_json({"leader": done.leader_id})
        else:
            say(f"{done.leader_id} leads")

    @node.command
    def token(*, hours: float = 1.0, endpoints: Endpoints = None, output: Output = "table") -> None:
        """Make a token with which one node may join.

        **Example**: `quartet node token --hours 0.5`

        Args:
            hours: How long it works, up to 168.
            endpoints: HOST:PORT,... of nodes.
            output: How data is printed.
        """
        with connected(endpoints) as client:
            made = client.cluster.create_join_token(timedelta(hours=hours))
        if output == "json":
            print_json({"token": made.token, "expire_time": made.expire_time.ToJsonString()})
        else:
            print(made.token)
            say("on the new machine: quartet serve --name NAME --listen HOST:PORT --listen-raft HOST:PORT --join TOKEN")

    @node.command
    def join(
        token: str,
        name: str,
        peer_address: str,
        /,
        *,
        learner: Annotated[bool, Parameter(negative="", help="Without a vote.")] = False,
        endpoints: Endpoints = None,
        output: Output = "table",
    ) -> None:
        """Add the node NAME, whose Raft port is PEER-ADDRESS, by hand; `quartet serve --join TOKEN` does it by itself.

        **Example**: `quartet node join $TOKEN n4 192.0.2.4:7402`
        """
        with connected(endpoints) as client:
            done = client.cluster.join(token, name, peer_address, learner=learner)
        if output == "json":
            print_json({"id": done.id, "nodes": [_node(one) for one in done.nodes]})
        else:
            say(f"{name} is member {done.id}")
            nodes = ",".join(one.client_address for one in done.nodes if one.client_address and one.id != done.id)
            say(f"quartet serve --name {name} --listen-raft {peer_address} --raft-join {nodes}")

    @node.command(name=["remove", "leave"])
    def remove(
        name: str,
        /,
        *,
        force: Annotated[bool, Parameter(negative="", help="Though records of zones live on it.")] = False,
        endpoints: Endpoints = None,
        output: Output = "table",
    ) -> None:
        """Remove the node NAME from the membership for good: alive, dead, or the leader. If it runs, it ends.

        Refused while records of zones live on it: move them away (`quartet zone move`), or let a node of this name have its
        disk, or a backup of it, again.

        **Example**: `quartet node remove n4`
        """
        with connected(endpoints) as client:
            gone = client.cluster.leave(name, force=force)
        if output == "json":
            print_json({"id": gone.id})
        else:
            say(f"{name}, member {gone.id}, is removed; its data directory is of no further use")


def _node(node: pb.Node) -> dict[str, Any]:
    return {
        "id": node.id,
        "name": node.name,
        "role": pb.NodeRole.Name(node.role).removeprefix(_ROLE).lower(),
        "alive": node.alive,
        "client_address": node.client_address,
        "http_address": node.http_address,
        "peer_address": node.peer_address,
        "version": node.version,
        "start_time": node.start_time.ToJsonString() if node.HasField("start_time") else None,
    }
