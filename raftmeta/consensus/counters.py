"""What consensus counts for the metrics page."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Counters:
    """Plain numbers, written on the Raft loop only and read from anywhere.

    Attributes:
        ticks: Turns of the Raft loop.
        stalls: Turns that came more than one heartbeat late.
        stall_seconds: Seconds those turns were late, in total.
        fsyncs: Syncs of the log that had something to write.
        fsync_seconds: Seconds spent in them.
        fsync_max_seconds: The longest of them.
        proposals: Entries appended as leader on request.
        refused: Proposals refused.
        applied: Entries given to the state machine.
        apply_seconds: Seconds the state machine took for them.
        elections: Elections this member started.
        leader_changes: Times this member came to follow (or be) another leader.
        step_downs: Times it stopped leading for lack of a majority.
        messages_sent: Messages handed to the wire.
        messages_dropped: Messages the wire did not take.
        messages_received: Messages taken in.
        messages_refused: Messages that broke the schema, the version or the rules.
        read_rounds: Quorum rounds run for linearizable reads.
        reads: Linearizable reads answered with an index.
        read_failures: Linearizable reads refused.
        snapshots_sent: Snapshots sent whole.
        snapshots_installed: Snapshots installed.
        snapshots_failed: Snapshots given up, on either side.
        snapshot_wait_seconds: Seconds that were put between a snapshot that failed and the next attempt, in total.
        trims: Times the log was trimmed.
        callback_failures: Exceptions out of callers' callbacks.
    """

    ticks: int = 0
    stalls: int = 0
    stall_seconds: float = 0.0
    fsyncs: int = 0
    fsync_seconds: float = 0.0
    fsync_max_seconds: float = 0.0
    proposals: int = 0
    refused: int = 0
    applied: int = 0
    apply_seconds: float = 0.0
    elections: int = 0
    leader_changes: int = 0
    step_downs: int = 0
    messages_sent: int = 0
    messages_dropped: int = 0
    messages_received: int = 0
    messages_refused: int = 0
    read_rounds: int = 0
    reads: int = 0
    read_failures: int = 0
    snapshots_sent: int = 0
    snapshots_installed: int = 0
    snapshots_failed: int = 0
    snapshot_wait_seconds: float = 0.0
    trims: int = 0
    callback_failures: int = 0
