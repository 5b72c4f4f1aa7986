"""`quartet version` and `quartet completion`."""

from __future__ import annotations

import platform
from importlib.metadata import version
from typing import Literal

from cyclopts import App

from quartet_server.cli.output import Output, print_json, print_table

_PARTS = ("quartet", "grpcio", "protobuf", "pysyncobj", "lmdb")


def text() -> str:
    """Return the version of this installation."""
    return version("quartet")


def register(app: App) -> None:
    """Add the commands to `app`."""

    @app.command(name="version")
    def show(*, output: Output = "table") -> None:
        """Show the versions of Quartet and of what it stands on.

        **Example**: `quartet version -o json`
        """
        versions = {**{part: version(part) for part in _PARTS}, "python": platform.python_version()}
        if output == "json":
            print_json(versions)
        else:
            print_table([{"part": part, "version": number} for part, number in versions.items()], ("part", "version"))

    @app.command
    def completion(shell: Literal["bash", "zsh", "fish"], /) -> None:
        """Print a completion script for a shell.

        **Example**: `quartet completion bash > ~/.local/share/bash-completion/completions/quartet`
        """
        print(app.generate_completion(prog_name="quartet", shell=shell))
