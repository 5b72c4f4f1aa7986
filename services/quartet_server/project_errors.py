"""Leaves of the tree of errors that the project database bears. `errors` draws the tree."""

from __future__ import annotations

from quartet_server.branches import FailedPrecondition


class TaskCycle(FailedPrecondition, hint="quartet projects graph PROJECT"):
    """A task would depend on itself, through others or at once; nothing was changed."""


class TransitionRefused(FailedPrecondition):
    """The status that a task, session or agent has does not let it have the one that was asked for."""


class TaskNotReady(FailedPrecondition, hint="quartet projects graph PROJECT"):
    """A named task cannot be claimed: another agent has it, it waits for others, or it is done."""


class CheckpointForeign(FailedPrecondition, hint="quartet projects checkpoints PROJECT"):
    """The state of a checkpoint is of another project."""


class CheckpointUnusable(FailedPrecondition):
    """The state of a checkpoint cannot be put back: it is none, or what it names belongs to another project now."""
