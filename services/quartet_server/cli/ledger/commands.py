"""`quartet agents`: sessions, turns, aliases, queues, and what was imported."""

from __future__ import annotations

import json
from typing import Annotated, Any

from cyclopts import App, Parameter
from quartet.agents.v1 import queue_pb2, sessions_pb2

from quartet_server.cli.connection import Endpoints, Zone, connected
from quartet_server.cli.ledger import sessions
from quartet_server.cli.ledger.rows import chosen, plain, show, turn_row
from quartet_server.cli.ledger.sessions import Label
from quartet_server.cli.output import CommandError, Output, print_json, print_table

_ITEM = ("id", "session_label", "mode", "status", "enqueued_at", "error")


def register(app: App) -> None:
    """Add the commands to `app`."""
    agents = App(name="agents", help="What agents said and did: `quartet agents sessions list`.")
    app.command(agents)
    sessions.register(agents)
    _register_turns(agents)
    _register_aliases(agents)
    _register_queue(agents)
    _register_imports(agents)


def _register_turns(agents: App) -> None:
    turns = App(name="turns", help="Turns of agents: `quartet agents turns show TURN`.")
    agents.command(turns)

    @turns.command(name="show")
    def show_(
        turn: Annotated[str, Parameter(help="Id of the turn.")],
        /,
        *,
        endpoints: Endpoints = None,
        zone: Zone = "",
        output: Output = "table",
    ) -> None:
        """Show a turn with its messages and tool calls.

        **Example**: `quartet agents turns show TURN -o json`
        """
        with connected(endpoints, zone) as client:
            whole = client.agents.turn(turn)
        if output == "json":
            print_json(plain(whole))
            return
        print_table([turn_row(whole)], ("depth", "id", "type", "status", "model", "tokens"))
        rows: list[dict[str, Any]] = [
            {"sequence": one.message.sequence, "role": plain(one.message)["role"], "content": one.message.content}
            for one in whole.messages
        ]
        print_table(rows, ("sequence", "role", "content"))
        if whole.tool_calls:
            show(list(whole.tool_calls), ("sequence", "id", "tool_name", "status", "error"), output)

    @turns.command(name="list")
    def list_(
        *,
        parent: Annotated[str, Parameter(help="Only the turns that follow this one.")] = "",
        filter_: Annotated[str, Parameter(name="--filter", help="A condition on columns.")] = "",
        endpoints: Endpoints = None,
        zone: Zone = "",
        output: Output = "table",
    ) -> None:
        """Show turns, those first that began last.

        **Example**: `quartet agents turns list --filter 'status = "failed"'`
        """
        with connected(endpoints, zone) as client:
            found = list(client.agents.turns(filter=filter_, order_by="started_at desc", parent_turn_id=parent))
        show(found, ("id", "parent_turn_id", "turn_type", "status", "started_at", "model"), output)


def _register_aliases(agents: App) -> None:
    aliases = App(name="aliases", help="Other names of sessions: `quartet agents aliases list`.")
    agents.command(aliases)
    columns = ("alias", "session_label", "reason", "created_at")

    @aliases.command(name="list")
    def list_(
        label: Annotated[str, Parameter(help="Label of the session; all of them without it.")] = "",
        /,
        *,
        endpoints: Endpoints = None,
        zone: Zone = "",
        output: Output = "table",
    ) -> None:
        """Show other names of sessions.

        **Example**: `quartet agents aliases list mom`
        """
        with connected(endpoints, zone) as client:
            found = list(client.agents.aliases(label))
        show(found, columns, output)

    @aliases.command
    def add(
        alias: Annotated[str, Parameter(help="The name.")],
        label: Label,
        /,
        *,
        reason: Annotated[str, Parameter(help="identity_promotion, identity_merge or manual.")] = "manual",
        endpoints: Endpoints = None,
        zone: Zone = "",
        output: Output = "table",
    ) -> None:
        """Give a session another name.

        **Example**: `quartet agents aliases add mum mom`
        """
        number = sessions_pb2.AliasReason.ValueType(chosen(reason, sessions_pb2.AliasReason, "ALIAS_REASON_"))
        with connected(endpoints, zone) as client:
            made = client.agents.add_alias(alias, label, number)
        show([made], columns, output)

    @aliases.command
    def rm(
        alias: Annotated[str, Parameter(help="The name.")],
        /,
        *,
        endpoints: Endpoints = None,
        zone: Zone = "",
        output: Output = "table",
    ) -> None:
        """Take a name away.

        **Example**: `quartet agents aliases rm mum`
        """
        with connected(endpoints, zone) as client:
            label = client.agents.remove_alias(alias)
        if output == "json":
            print_json({"alias": alias, "session_label": label})


def _register_queue(agents: App) -> None:
    queue = App(name="queue", help="What waits for an agent: `quartet agents queue list LABEL`.")
    agents.command(queue)

    @queue.command(name="list")
    def list_(
        label: Annotated[str, Parameter(help="Label of the session; all of them without it.")] = "",
        /,
        *,
        endpoints: Endpoints = None,
        zone: Zone = "",
        output: Output = "table",
    ) -> None:
        """Show what waits, or has waited, in a session's queue.

        **Example**: `quartet agents queue list mom`
        """
        with connected(endpoints, zone) as client:
            found = list(client.agents.queue(label))
        show(found, _ITEM, output)

    @queue.command
    def push(
        label: Label,
        message: Annotated[str, Parameter(help='The message as JSON, as \'{"text": "hello"}\'.')],
        /,
        *,
        mode: Annotated[str, Parameter(help="steer, followup, collect, queue or interrupt.")] = "",
        endpoints: Endpoints = None,
        zone: Zone = "",
        output: Output = "table",
    ) -> None:
        """Put a message into a session's queue.

        **Example**: `quartet agents queue push mom '{"text": "hello"}' --mode followup`
        """
        try:
            value = json.loads(message)
        except ValueError:
            value = None
        if not isinstance(value, dict):
            raise CommandError("the message is no JSON object", """'{"text": "hello"}'""", exit_code=2)
        number = queue_pb2.QueueMode.ValueType(chosen(mode, queue_pb2.QueueMode, "QUEUE_MODE_"))
        with connected(endpoints, zone) as client:
            answer = client.agents.enqueue(label, value, number)
        show([answer.item], _ITEM, output)


def _register_imports(agents: App) -> None:
    @agents.command
    def imports(*, endpoints: Endpoints = None, zone: Zone = "", output: Output = "table") -> None:
        """Show which sessions of other programs were imported, and what they became.

        **Example**: `quartet agents imports`
        """
        with connected(endpoints, zone) as client:
            found = list(client.agents.imports())
        show(found, ("source", "source_provider", "source_session_id", "session_label", "updated_at"), output)
