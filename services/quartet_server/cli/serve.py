"""`quartet serve`: one node, in the foreground."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Annotated

import structlog
from cyclopts import App, Parameter

from quartet_server import logs
from quartet_server.cli.output import CommandError, Format, Output, print_json, print_table, say
from quartet_server.config import Config
from quartet_server.sources import FILE_FLAG

ConfigFile = Annotated[Path | None, Parameter(name=FILE_FLAG, help="TOML file with the same keys, by section.")]

_log = structlog.get_logger("quartet.serve")


def register(app: App) -> None:
    """Add the command to `app`."""

    @app.command
    def serve(*, config: Config | None = None, config_file: ConfigFile = None, output: Output = "table") -> int:
        """Run a node until SIGTERM or SIGINT. With no flags: everything, on loopback, data in ./quartet-data.

        The addresses in use are printed once they are open. At the first signal the node says NOT_SERVING, finishes the
        calls in flight, hands over leadership and closes; at the second it exits at once.

        **Examples**: `quartet serve`, `quartet serve --data-dir /var/lib/quartet --listen 127.0.0.1:0 -o json`
        """
        from quartet_server.validation import (
            problems,
        )  # what only a node needs takes longer to import than `ls` to answer

        config = config or Config()
        logs.configure(config.log.format, config.log.level)
        config = _as_member(config)
        for problem in problems(config):
            raise CommandError(problem.message, problem.hint, exit_code=2)
        if config.serve.insecure:
            say("warning: --insecure: whoever reaches this node's ports can read and change everything on it")
        return asyncio.run(_serve(config, output))


def _as_member(config: Config) -> Config:
    """Join if there is a token and the node is new; return the configuration of the member it is."""
    from quartet_server import joining
    from raftmeta.identity import IdentityError

    try:
        joining.join(config)
        return joining.effective(config)
    except joining.JoinRefused as error:
        raise CommandError(str(error), error.hint, exit_code=2 if error.usage else 1) from error
    except IdentityError as error:
        raise CommandError(str(error), "quartet check") from error
    except OSError as error:
        raise CommandError(f"cannot use {config.serve.data_dir}: {error}", "--data-dir DIR") from error


async def _serve(config: Config, output: Format) -> int:
    """Run the node; returns the exit code."""
    from quartet_server.errors import QuartetError
    from quartet_server.node import RunningNode  # the stores take a while to import: --help need not wait
    from quartet_server.removal import Removed
    from quartet_server.rpc.port import PortRefused
    from raftmeta.consensus import StartError
    from raftmeta.garbage import collect_seldom
    from raftmeta.identity import IdentityError
    from raftmeta.serve import SWITCH_INTERVAL
    from raftmeta.store import StoreError
    from raftmeta.wal.errors import WalError

    sys.setswitchinterval(SWITCH_INTERVAL)
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _signalled, number, stopping)
    try:
        node = await RunningNode.start(config)
    except (PortRefused, Removed) as error:
        raise CommandError(str(error), error.hint) from error
    except (StoreError, StartError, WalError) as error:
        raise CommandError(str(error), _recovery(config)) from error
    except QuartetError as error:  # of the store of blobs
        raise CommandError(error.message, error.hint or "--objects-url URL") from error
    except (IdentityError, ValueError) as error:
        raise CommandError(str(error), f"quartet check --data-dir {config.serve.data_dir}") from error
    except OSError as error:
        raise CommandError(f"cannot use {config.serve.data_dir}: {error}", "--data-dir DIR") from error
    async with node:
        _announce(node.address, node.http_address, config, output)
        end = asyncio.create_task(stopping.wait())
        ready = asyncio.create_task(node.wait_ready())
        failure = asyncio.create_task(node.failure())
        await asyncio.wait({end, ready, failure}, return_when=asyncio.FIRST_COMPLETED)
        if ready.done() and not failure.done():
            collect_seldom()
            _notify("READY=1")
            await asyncio.wait({end, failure}, return_when=asyncio.FIRST_COMPLETED)
        _notify("STOPPING=1")
        for task in (end, ready):
            task.cancel()
        if failure.done():
            why = failure.result()
            if isinstance(why, Removed):
                raise CommandError(str(why), why.hint)
            raise CommandError(f"the metadata store stopped: {why}", _recovery(config))
        failure.cancel()
    return 0


def _recovery(config: Config) -> str:
    """Return the command that finds out what is wrong with the stores."""
    return f"python -m raftmeta check --data-dir {config.serve.data_dir}"


def _signalled(number: int, stopping: asyncio.Event) -> None:
    """Begin the shutdown at the first signal, exit at the second."""
    if stopping.is_set():
        _log.warning("second signal: exiting at once")
        os._exit(128 + number)
    _log.info("shutting down", signal=signal.Signals(number).name)
    stopping.set()


def _announce(address: object, http: object, config: Config, output: Format) -> None:
    """Print the addresses in use, so that whoever asked for port 0 learns them."""
    rows = {"name": config.serve.name, "grpc": str(address), "http": str(http or ""), "pid": os.getpid()}
    if output == "json":
        print_json(rows)
    else:
        print_table([{"port": key, "address": rows[key]} for key in ("grpc", "http") if rows[key]], ("port", "address"))
    sys.stdout.flush()


def _notify(state: str) -> None:
    """Tell systemd, if it asked to be told (sd_notify(3))."""
    path = os.environ.get("NOTIFY_SOCKET", "")
    if not path:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
        out.sendto(state.encode(), "\0" + path[1:] if path.startswith("@") else path)
