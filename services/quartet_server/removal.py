"""What a node says that was removed from its cluster; `raftmeta.removal` notices it."""

from __future__ import annotations

from pathlib import Path

from raftmeta.removal import was_removed


class Removed(Exception):  # noqa: N818 - it says what happened
    """The node is no member of its cluster any more.

    Attributes:
        hint: What to do about it.
    """

    def __init__(self, data_dir: Path) -> None:
        """Say so."""
        super().__init__("this node was removed from the cluster")
        self.hint = (
            f"to have it back: quartet node token, remove {data_dir}, quartet serve --join TOKEN; otherwise nothing is left"
            " to do"
        )


def refuse_removed(data_dir: Path) -> None:
    """Do not start what was told before that it was removed. Raises Removed."""
    if was_removed(data_dir):
        raise Removed(data_dir)
