"""`quartet demo`: the main job, played through."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

_Tree = Annotated[Path | None, Parameter(help="Directory to import; default: Python's own library.")]


def register(app: App) -> None:
    """Add the command to `app`."""

    @app.command
    def demo(*, tree: _Tree = None) -> int:
        """Import a real tree into three nodes, kill the leader on the way, compare every entry on every node.

        Exits 1 when anything differs, or nobody was killed.

        **Example**: `quartet demo --tree /usr/share/doc`
        """
        from quartet_server.demo import __main__ as played  # the client takes a while to import: --help need not wait

        return played.main(["--tree", str(tree)] if tree is not None else [])
