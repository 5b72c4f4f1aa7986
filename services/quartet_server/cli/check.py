"""`quartet check`: what a node would be started with, where each value comes from, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from cyclopts import App

from quartet_server.cli.output import Output, print_json, print_table, say
from quartet_server.cli.serve import ConfigFile
from quartet_server.config import Config
from quartet_server.sources import Sources, unknown_variables


def register(app: App, sources: Sources, environ: Mapping[str, str]) -> None:
    """Add the command to `app`, whose values come from `sources`."""

    @app.command
    def check(*, config: Config | None = None, config_file: ConfigFile = None, output: Output = "table") -> int:
        """Show the effective configuration, secrets masked, and what is wrong with it. Exits 1 when something is.

        **Examples**: `quartet check`, `quartet check --config quartet.toml --listen 0.0.0.0:7400 -o json`
        """
        from quartet_server.validation import problems  # with all of a node, for which other commands need not wait

        config = config or Config()
        found = list(problems(config))
        unknown = unknown_variables(environ)
        rows = [
            {"key": f"{section}.{key}", "value": _plain(value), "source": sources.origin.get((section, key), "default")}
            for section, key, value in config.entries()
        ]
        if output == "json":
            document = {
                "config": rows,
                "problems": [{"message": problem.message, "hint": problem.hint} for problem in found],
                "unknown_variables": unknown,
            }
            print_json(document)
        else:
            print_table(rows, ("key", "value", "source"))
        for problem in found:
            say(f"problem: {problem.message}\nhint: {problem.hint}")
        for name in unknown:
            say(f"problem: {name} is in the environment, but there is no such key\nhint: quartet serve --help")
        return 1 if found or unknown else 0


def _plain(value: object) -> object:
    return str(value) if isinstance(value, Path) else value
