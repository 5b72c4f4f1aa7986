"""`quartet objects put|get|stat|status`: blobs by hand, and where their copies are."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter
from quartet import Client, Digest
from quartet.objects.replicas.v1 import replicas_pb2
from quartet.objects.v1 import objects_pb2 as pb

from quartet_server.cli.connection import Endpoints, Zone, connected
from quartet_server.cli.output import CommandError, Output, print_json, print_table, printable, say

_Digest = Annotated[str, Parameter(help="HASH/SIZE, as `quartet objects put` prints it.")]


def register(app: App) -> None:
    """Add the commands to `app`."""
    objects = App(name="objects", help="Store and read immutable bytes by their digest.")
    app.command(objects)

    @objects.command
    def put(
        *paths: Annotated[Path, Parameter(help="Files to store.")],
        endpoints: Endpoints = None,
        zone: Zone = "",
        output: Output = "table",
    ) -> None:
        """Store files and print their digests; what is there already is not sent again.

        Blobs that nothing refers to, and nobody pins, are collected after a while: objects.gc_grace.

        **Example**: `quartet objects put report.pdf photo.jpg`
        """
        if not paths:
            raise CommandError("nothing to store", "quartet objects put FILE", exit_code=2)
        with connected(endpoints, zone) as client:
            rows = [{"digest": _put(client, path), "path": str(path)} for path in paths]
        if output == "json":
            print_json(rows)
        else:
            print_table(rows, ("digest", "path"))

    @objects.command
    def get(
        digest: _Digest,
        path: Annotated[Path | None, Parameter(help="File to write; without it standard output.")] = None,
        /,
        *,
        endpoints: Endpoints = None,
        zone: Zone = "",
        output: Output = "table",
    ) -> None:
        """Write a blob into a file, which appears when it is whole, or to standard output.

        **Example**: `quartet objects get HASH/SIZE report.pdf`
        """
        if path is None and output == "json":
            raise CommandError("the bytes and JSON cannot both go to standard output", "name a file", exit_code=2)
        with connected(endpoints, zone) as client:
            if path is None:
                for piece in client.objects.read(digest):
                    sys.stdout.buffer.write(piece)
                sys.stdout.buffer.flush()
                return
            try:
                client.objects.get_file(digest, path)
            except OSError as error:
                raise CommandError(f"cannot write {path}: {error.strerror}") from error
        if output == "json":
            print_json({"digest": digest, "path": str(path)})

    @objects.command
    def stat(
        *digests: _Digest,
        endpoints: Endpoints = None,
        zone: Zone = "",
        output: Output = "table",
    ) -> int:
        """Tell which blobs are there, and what they take; ends with 1 when one is missing.

        **Example**: `quartet objects stat HASH/SIZE`
        """
        with connected(endpoints, zone) as client:
            blobs, missing = client.objects.stat_many(digests)
        rows = [_row(blob) for blob in blobs] + [_missing(digest) for digest in missing]
        if output == "json":
            print_json(rows)
        else:
            print_table(rows, ("digest", "there", "stored_bytes", "touch_time", "condemn_time"))
        return int(bool(missing))

    @objects.command
    def status(*, endpoints: Endpoints = None, output: Output = "table") -> int:
        """Tell where the copies of blobs are, node by node, and which are missing; ends with 1 while some are.

        A node owes what it should have and lacks; it is settled when it has looked through all it has since nodes came or
        went.

        **Examples**: `quartet objects status`, `quartet objects status -o json`
        """
        with connected(endpoints) as client:
            told = client.objects.status()
        rows = [_share(node) for node in told.nodes]
        if output == "json":
            debts = sum(node.debts for node in told.nodes)
            facts = {"placement": told.placement, "replicas": told.replicas, "settled": told.settled, "debts": debts}
            print_json({**facts, "nodes": rows})
        else:
            columns = ("name", "reachable", "placed", "settled", "blobs", "logical_bytes", "physical_bytes", "debts")
            print_table(rows, (*columns, "copied_blobs", "last_repair", "problem"))
            say("every copy is where it should be" if told.settled else "copies are missing, or not known to be there")
        return int(not told.settled)


def _put(client: Client, path: Path) -> str:
    try:
        return str(client.objects.put_file(path))
    except OSError as error:
        raise CommandError(f"cannot read {path}: {error.strerror}") from error


def _share(node: replicas_pb2.Node) -> dict[str, Any]:
    return {
        "name": node.name,
        "id": node.id,
        "address": node.address,
        "reachable": node.reachable,
        "placed": node.placed,
        "settled": node.settled,
        "blobs": node.blobs,
        "logical_bytes": node.logical_bytes,
        "physical_bytes": node.physical_bytes,
        "debts": node.debts,
        "copied_blobs": node.copied_blobs,
        "copied_bytes": node.copied_bytes,
        "dropped_blobs": node.dropped_blobs,
        "last_repair": node.repair_time.ToJsonString() if node.HasField("repair_time") else None,
        "problem": printable(node.problem),
    }


def _row(blob: pb.Blob) -> dict[str, Any]:
    return {
        "digest": str(Digest.named(blob.digest)),
        "there": True,
        "stored_bytes": blob.stored_bytes,
        "touch_time": blob.touch_time.ToJsonString(),
        "condemn_time": blob.condemn_time.ToJsonString() if blob.HasField("condemn_time") else None,
    }


def _missing(digest: Digest) -> dict[str, Any]:
    return {"digest": str(digest), "there": False, "stored_bytes": None, "touch_time": None, "condemn_time": None}
