"""The command line of a run: `python -m faults`, with tests/ on the path; `make faults` calls it."""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # members that are killed are no news; read when gRPC is imported

from faults.catalogue import KINDS
from faults.disk.library import DiskLayerUnavailable
from faults.plan import SIZES, plan, planned
from faults.run import run

_SHOWN = 20


def main(arguments: list[str] | None = None) -> int:
    """Run, and return the exit status: 0 good, 1 a violation or too few faults, 2 cannot run here."""
    parser = argparse.ArgumentParser(prog="faults", description="Faults against real raftmeta processes, judged.")
    parser.add_argument("--seed", type=int, help="of the plan and the load; default: drawn")
    parser.add_argument("--duration", type=float, default=600.0, help="seconds, starts and checks included")
    parser.add_argument("--sizes", default=",".join(map(str, SIZES)), help="of the clusters")
    parser.add_argument("--kinds", default="", help="only these, separated by commas")
    parser.add_argument("--directory", type=Path, help="for data, logs and histories; default: a temporary one")
    parser.add_argument("--keep", action="store_true", help="keep the directory also when all is well")
    chosen = parser.parse_args(arguments)
    seed = random.SystemRandom().randrange(1_000_000) if chosen.seed is None else chosen.seed
    try:
        kinds = {name: KINDS[name] for name in chosen.kinds.split(",")} if chosen.kinds else KINDS
        phases = plan(seed, chosen.duration, kinds, [int(size) for size in chosen.sizes.split(",")])
    except (KeyError, ValueError) as error:
        parser.error(f"{error}; kinds are {', '.join(sorted(KINDS))}")
    directory = chosen.directory or Path(tempfile.mkdtemp(prefix="faults-"))
    began = time.monotonic()

    def say(text: str) -> None:
        print(f"{time.monotonic() - began:6.1f} s  {text}", file=sys.stderr, flush=True)

    again = f"make faults SEED={seed} DURATION={chosen.duration:g}"
    must, spare = sum(planned(phases).values()), sum(step.spare for phase in phases for step in phase.steps)
    say(f"seed {seed}, {must} faults and {spare} more if there is time, in {chosen.duration:g} s; again: {again}")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends members too, as an interrupt does
    try:
        report = run(seed, chosen.duration, phases, directory, say)
    except DiskLayerUnavailable as error:
        say(f"cannot run here: {error}")
        return 2
    for kind, happened in report.fewer.items():
        say(f"TOO FEW FAULTS: {kind} happened {happened} times")
    for violation in report.violations[:_SHOWN]:
        say(f"VIOLATION: {violation}")
    if report.good and not chosen.keep:
        shutil.rmtree(directory, ignore_errors=True)
    else:
        say(f"logs, data and histories are in {directory}")
    print(report.line(), flush=True)
    return 0 if report.good else 1


if __name__ == "__main__":
    sys.exit(main())
