"""Judges a history that was kept: `PYTHONPATH=tests python -m faults.check FILE`; exit status 1 if it is not good."""

from __future__ import annotations

import sys
from pathlib import Path

from faults.checks.judging import judge
from faults.history_file import HistoryFileError, load


def main(arguments: list[str]) -> int:
    """Judge the file named; prints the report."""
    if len(arguments) != 1:
        print("usage: python -m faults.check FILE", file=sys.stderr)
        return 2
    try:
        history = load(Path(arguments[0]))
    except (OSError, HistoryFileError) as error:
        print(error, file=sys.stderr)
        return 2
    report = judge(history)
    print(report)
    return 0 if report.ok else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
