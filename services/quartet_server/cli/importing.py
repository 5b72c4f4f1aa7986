"""`quartet import`: what other programs keep, into the ledgers of events and of agents."""

from __future__ import annotations

import sqlite3
import time
from collections import deque
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import App, Parameter

from quartet_server.cli.connection import Endpoints, Zone, connected
from quartet_server.cli.ledgers import Remote
from quartet_server.cli.output import CommandError, Output, print_json, print_table, printable, say
from quartet_server.cli.transfer.meter import Meter
from quartet_server.importers import times
from quartet_server.importers.contract import Options
from quartet_server.importers.faults import TOLD, Fault, Faults, UnfitError, WrongKindError
from quartet_server.importers.kinds import KINDS
from quartet_server.importers.loading import BATCH, Loader, Plan
from quartet_server.importers.tally import Tally
from quartet_server.importers.unifying import Unverified, unify

Kind = Literal["aix-events", "aix", "imessage", "mbox", "gmail", "nexus", "claude-code", "codex", "slack", "cortex"]
_PATIENCE = 120.0  # seconds for a call, in which a cluster finds another leader many times
_ROWS = ("aix-events", "aix", "imessage", "cortex")
_SHOWN = ("created", "duplicates", "bad", "skipped", "sessions", "turns", "files", "seconds")


def register(app: App) -> None:
    """Add the command to `app`."""

    @app.command(name="import")
    def import_(
        kind: Kind,
        path: Path,
        /,
        *,
        me: Annotated[tuple[str, ...], Parameter(negative="")] = (),
        source: str = "",
        since: str = "",
        limit: int = 0,
        batch: int = BATCH,
        full: Annotated[bool, Parameter(negative="")] = False,
        dry_run: Annotated[bool, Parameter(negative="")] = False,
        strict: Annotated[bool, Parameter(negative="")] = False,
        links: Path | None = None,
        drop_source: Annotated[bool, Parameter(negative="")] = False,
        endpoints: Endpoints = None,
        zone: Zone = "",
        output: Output = "table",
    ) -> int:
        """Import what another program keeps: conversations, mail, sessions of agents. What is there already stays as it is.

        Run again it goes on where it ended, also when it was killed. What cannot be read is counted and told, and the rest is
        imported. The source is only read.

        **Examples**: `quartet import claude-code ~/.claude/projects` · `quartet import mbox mail.mbox --me ada@example.org` ·
        `quartet import cortex cortex.db --dry-run -o json`

        Args:
            kind: Format: `claude-code` and `codex` session logs; `imessage` (chat.db); `mbox`; `gmail` (JSON of its API); `slack`
                (export, zip or directory); `nexus` (event logs); `aix` and `aix-events` (aix.db, whole or trimmed to turns);
                `cortex` (cortex.db).
            path: File or directory.
            me: An address, number or id of the human whose data it is; may be repeated. What they wrote is outbound.
            source: Only what this program left, where a file holds what several did (`aix`, `nexus`, `cortex`).
            since: Only what happened since then, as `2026-02-01` or `2026-02-01T08:00:00Z`.
            limit: End after so many events; 0 for none.
            batch: Events that are stored together, 1 to 1,000.
            full: Read all of it again, whatever was imported before.
            dry_run: Only read and count; needs no node.
            strict: Exit with 1 when something could not be read.
            links: Of `cortex`: where episodes and their events are written; FILE.links.jsonl by default.
            drop_source: Of `cortex`: take the tables of events out of the database, once every event is found in the ledger.
            endpoints: HOST:PORT,... of nodes.
            zone: Zone to act in.
            output: How the counts are printed.
        """
        began = time.monotonic()
        if drop_source and (kind != "cortex" or dry_run or limit or since or source):
            raise CommandError(
                "--drop-source is for a whole `cortex`, without --dry-run, --limit, --since and --source", exit_code=2
            )
        if not 1 <= batch <= 1000 or limit < 0:
            raise CommandError("--batch takes 1 to 1,000, --limit 0 or more", exit_code=2)
        plan = Plan(kind, batch, limit, _time(since), full)
        tally = Tally(Faults(tell=_tell))
        options = Options(frozenset(one.lower() for one in me), source)
        more: dict[str, Any] = {}
        try:
            readers = deque(KINDS[kind].open(path, options, tally.faults))
            with Meter(doing="importing", of_bytes=kind not in _ROWS) as meter:
                for reader in readers:
                    meter.expect(reader.size)
                each = (readers.popleft() for _ in range(len(readers)))  # one that has been read is forgotten
                if dry_run:
                    Loader(None, plan, tally, meter.advance).run(each)
                else:
                    with connected(endpoints, zone, timeout=_PATIENCE) as client:
                        ledger = Remote(client)
                        Loader(ledger, plan, tally, meter.advance).run(each)
                        if kind == "cortex":
                            whole = not (limit or since or source)
                            more = unify(ledger, path, tally, links=links, drop_source=drop_source, whole=whole)
                        ledger.report(kind, incremental=not full, progress=_numbers(tally))
        except WrongKindError as error:
            raise CommandError(printable(str(error)), printable(error.hint)) from error
        except Unverified as error:
            raise CommandError(
                printable(str(error)), "the source is as it was; `not imported` above says what is missing"
            ) from error
        except OSError as error:
            raise CommandError(printable(f"{error.filename or path}: {error.strerror or error}")) from error
        except sqlite3.Error as error:
            raise CommandError(printable(f"{path}: {error}")) from error
        row = {"kind": kind, **tally.row(), **more, "seconds": round(time.monotonic() - began, 3)}
        if output == "json":
            print_json(row)
        else:
            print_table([row], _SHOWN)
        if tally.faults.bad > TOLD:
            say(f"and {tally.faults.bad - TOLD} more")
        if not more.get("verified", True):
            say(
                "not all of it was found in the ledger as it is in the source: see `by_adapter` and `links_dangling` of -o json"
            )
            return 1
        return 1 if strict and tally.faults.bad else 0


def _time(text: str) -> int | None:
    if not text:
        return None
    try:
        return times.iso(text)
    except UnfitError as error:
        raise CommandError(f"--since: {error}", "--since 2026-02-01", exit_code=2) from error


def _tell(fault: Fault) -> None:
    say(printable(f"not imported: {fault.where}: {fault.reason}"))


def _numbers(tally: Tally) -> dict[str, Any]:
    return {key: value for key, value in tally.row().items() if isinstance(value, int)}
