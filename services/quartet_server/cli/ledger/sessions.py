"""`quartet agents sessions`: conversations of agents, and where they are."""

from __future__ import annotations

import json
from typing import Annotated

from cyclopts import App, Parameter
from quartet.agents.v1 import session_calls_pb2, sessions_pb2

from quartet_server.cli.connection import Endpoints, Zone, connected
from quartet_server.cli.ledger.rows import plain, session_status, show, turn_row
from quartet_server.cli.output import CommandError, Output, print_json, print_table, printable

Label = Annotated[str, Parameter(help="Label of the session, or an alias.")]
_COLUMNS = ("label", "persona_id", "status", "origin", "updated_at", "thread_id")


def register(agents: App) -> None:
    """Add the commands to `agents`."""
    app = App(name="sessions", help="Conversations: `quartet agents sessions list`.")
    agents.command(app)
    _register_reading(app)
    _register_writing(app)


def _register_reading(app: App) -> None:
    @app.default
    @app.command(name="list")
    def list_(
        *,
        persona: Annotated[str, Parameter(help="Only those of this persona.")] = "",
        status: Annotated[str, Parameter(help="Only those that are active, archived or deleted.")] = "",
        origin: Annotated[str, Parameter(help="Only those that this one made, as `claude-code`.")] = "",
        filter_: Annotated[str, Parameter(name="--filter", help="A condition on columns.")] = "",
        endpoints: Endpoints = None,
        zone: Zone = "",
        output: Output = "table",
    ) -> None:
        """Show sessions, those first in which something happened last.

        **Examples**: `quartet agents sessions list --origin claude-code` ·
        `quartet agents sessions list --filter 'updated_at > "2026-11-01T00:00:00Z"' -o json`
        """
        with connected(endpoints, zone) as client:
            found = list(
                client.agents.sessions(
                    filter=filter_,
                    order_by="updated_at desc",
                    persona_id=persona,
                    status=session_status(status),
                    origin=origin,
                )
            )
        show(found, _COLUMNS, output)

    @app.command(name="show")
    def show_(
        label: Label,
        /,
        *,
        messages: Annotated[bool, Parameter(help="What was said, word by word.", negative="")] = False,
        endpoints: Endpoints = None,
        zone: Zone = "",
        output: Output = "table",
    ) -> None:
        """Show a session: its turns from the first to the one at which it is.

        **Examples**: `quartet agents sessions show mom` · `quartet agents sessions show mom --messages`
        """
        with connected(endpoints, zone) as client:
            session = client.agents.session(label)
            turns = list(client.agents.thread(session.label, contents=True)) if session.thread_id else []
        if output == "json":
            told = [plain(one) if messages else turn_row(one) for one in turns]
            print_json({"session": plain(session), "turns": told})
        elif messages:
            for turn in turns:
                for one in turn.messages:
                    role = plain(one.message)["role"]
                    print(f"{role}: " + "\n".join(map(printable, one.message.content.split("\n"))))
        else:
            rows = [turn_row(one) for one in turns]
            print_table(rows, ("depth", "id", "type", "status", "tokens", "tool_calls", "asked", "answered"))

    @app.command
    def history(label: Label, /, *, endpoints: Endpoints = None, zone: Zone = "", output: Output = "table") -> None:
        """Show where a session has been: every move of its pointer, the earliest first.

        **Example**: `quartet agents sessions history mom`
        """
        with connected(endpoints, zone) as client:
            moves = list(client.agents.history(client.agents.session(label).label))
        show(moves, ("id", "changed_at", "thread_id"), output)

    @app.command
    def context(label: Label, /, *, endpoints: Endpoints = None, zone: Zone = "", output: Output = "table") -> None:
        """Show what a session's agent has to know to go on: the last summary, and the turns since.

        **Example**: `quartet agents sessions context mom -o json`
        """
        with connected(endpoints, zone) as client:
            compaction, turns = client.agents.context(label)
        if output == "json":
            summary = plain(compaction) if compaction is not None else None
            print_json({"compaction": summary, "turns": [plain(one) for one in turns]})
            return
        if compaction is not None:
            print("\n".join(map(printable, compaction.summary.split("\n"))))
        print_table([turn_row(one) for one in turns], ("depth", "id", "type", "status", "tokens", "asked", "answered"))

    @app.command
    def watch(
        label: Label,
        /,
        *,
        start: Annotated[
            int | None, Parameter(name="--from", help="Number of the last move that is known; 0 for all.")
        ] = None,
        count: Annotated[int, Parameter(name=["--count", "-n"], help="End after so many events; 0 for never.")] = 0,
        endpoints: Endpoints = None,
        zone: Zone = "",
        output: Output = "table",
    ) -> None:
        """Show what happens in a session until Ctrl-C, a line for each event.

        **Examples**: `quartet agents sessions watch mom` · `quartet agents sessions watch mom --from 0 -o json`
        """
        if count < 0 or (start is not None and start < 0):
            raise CommandError("--from and --count take numbers from 0 on", exit_code=2)
        with connected(endpoints, zone) as client:
            for told, event in enumerate(client.agents.watch(label, after_history_id=start), 1):
                line = json.dumps(plain(event), ensure_ascii=False) if output == "json" else _line(event)
                print(line, flush=True)
                if told == count:
                    return


def _register_writing(app: App) -> None:
    @app.command
    def create(
        label: Annotated[str, Parameter(help="Label of the session.")],
        /,
        *,
        persona: Annotated[str, Parameter(help="Persona that talks in it; `main` without it.")] = "",
        endpoints: Endpoints = None,
        zone: Zone = "",
        output: Output = "table",
    ) -> None:
        """Make a session.

        **Example**: `quartet agents sessions create mom --persona atlas`
        """
        with connected(endpoints, zone) as client:
            made = client.agents.create_session(sessions_pb2.Session(label=label, persona_id=persona))
        show([made], _COLUMNS, output)

    @app.command
    def fork(
        label: Label = "",
        new: Annotated[str, Parameter(help="Label of the new session; drawn without it.")] = "",
        /,
        *,
        turn: Annotated[str, Parameter(help="The turn from which to go on; the session's head without it.")] = "",
        endpoints: Endpoints = None,
        zone: Zone = "",
        output: Output = "table",
    ) -> None:
        """Make a session that goes on from where another one is, or from any turn; nothing is copied.

        **Examples**: `quartet agents sessions fork mom mom-2` · `quartet agents sessions fork mom --turn TURN`
        """
        with connected(endpoints, zone) as client:
            made = client.agents.fork_session(label, turn_id=turn, session=sessions_pb2.Session(label=new))
        show([made], _COLUMNS, output)

    @app.command
    def move(
        label: Label,
        turn: Annotated[str, Parameter(help="The turn at which it shall be.")],
        /,
        *,
        expected_head: Annotated[str | None, Parameter(help="Only if it is at this turn; empty: at none.")] = None,
        endpoints: Endpoints = None,
        zone: Zone = "",
        output: Output = "table",
    ) -> None:
        """Move a session's pointer to any turn, as to go back.

        **Example**: `quartet agents sessions move mom TURN`
        """
        with connected(endpoints, zone) as client:
            moved = client.agents.move_head(label, turn, expected_head=expected_head)
        show([moved], _COLUMNS, output)

    @app.command
    def update(
        label: Label,
        /,
        *,
        status: Annotated[str, Parameter(help="active, archived or deleted.")] = "",
        persona: Annotated[str, Parameter(help="Persona that talks in it.")] = "",
        endpoints: Endpoints = None,
        zone: Zone = "",
        output: Output = "table",
    ) -> None:
        """Put a session away, or take it up again; or change who talks in it.

        **Example**: `quartet agents sessions update mom --status archived`
        """
        fields = [name for name, value in (("status", status), ("persona_id", persona)) if value]
        if not fields:
            raise CommandError("there is nothing to change", "--status archived, --persona NAME", exit_code=2)
        changed = sessions_pb2.Session(label=label, status=session_status(status), persona_id=persona)
        with connected(endpoints, zone) as client:
            changed = client.agents.update_session(changed, fields)
        show([changed], _COLUMNS, output)


def _line(event: session_calls_pb2.WatchSessionResponse) -> str:
    row = plain(event)
    match event.type:
        case session_calls_pb2.SESSION_EVENT_TYPE_MESSAGE:
            message = plain(event.message.message)
            what = f"{message['role']}: {message.get('content', '')}"
        case session_calls_pb2.SESSION_EVENT_TYPE_TOOL_CALL:
            what = f"{event.tool_call.tool_name} {plain(event.tool_call)['status']}"
        case session_calls_pb2.SESSION_EVENT_TYPE_SESSION:
            what = f"{event.session.label} {plain(event.session)['status']}"
        case _:
            what = f"{event.turn.id} {plain(event.turn)['status']}"
    return f"{event.history_id:>8}  {row['type']:<11}  {printable(what)}"
