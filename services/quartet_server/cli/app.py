"""Puts the commands together and turns what goes wrong into words on stderr and an exit code.

Exit codes: 0 done; 1 it failed, or a check found something; 2 the command line or the configuration is wrong; 130
interrupted.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence

from cyclopts import App

from quartet_server.cli import (
    backups,
    cert,
    check,
    cluster,
    contents,
    databases,
    demo,
    events,
    files,
    importing,
    maintenance,
    mounts,
    nodes,
    objects,
    ops,
    projects,
    quotas,
    roots,
    serve,
    settings,
    snapshots,
    trash,
    version,
    versions,
    watch,
    workspaces,
    xattrs,
    zones,
)
from quartet_server.cli.ledger import commands as agents
from quartet_server.cli.output import CommandError, say
from quartet_server.sources import Sources

_EPILOGUE = """Data goes to stdout, words for people to stderr; -o json makes the data JSON.
Every flag of `serve` is also QUARTET_SECTION_KEY and [section] key in the file given by --config."""


def create(environ: Mapping[str, str]) -> App:
    """Return the application; `environ` is where variables are looked up."""
    sources = Sources(environ)
    app = App(
        name="quartet",
        help="One place for the files, settings and metadata of AI-agent systems.",
        help_epilogue=_EPILOGUE,
        help_format="markdown",
        version=version.text,
        config=sources,
        result_action="return_value",
    )
    serve.register(app)
    cluster.register(app, environ)
    cert.register(app)
    check.register(app, sources, environ)
    version.register(app)
    files.register(app)
    watch.register(app)
    contents.register(app)
    trash.register(app)
    quotas.register(app)
    roots.register(app)
    xattrs.register(app)
    versions.register(app)
    settings.register(app)
    snapshots.register(app)
    objects.register(app)
    maintenance.register(app)
    workspaces.register(app)
    mounts.register(app)
    projects.register(app)
    nodes.register(app)
    ops.register(databases.register(app))
    backups.register(app)
    zones.register(app)
    events.register(app)
    agents.register(app)
    importing.register(app)
    demo.register(app)
    return app


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit."""
    app = create(os.environ)
    try:
        result = app(list(arguments) if arguments is not None else None)
    except CommandError as error:
        say(f"error: {error}")
        if error.hint:
            say(f"hint: {error.hint}")
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # `quartet ... | head`: the reader has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    sys.exit(result if isinstance(result, int) else 0)
