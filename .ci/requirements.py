"""Write what pip needs to install what `uv sync` would: `python .ci/requirements.py FOLDER`.

FOLDER/dev.txt lists the development group, FOLDER/pins.txt the version of every package in `uv.lock`. The lock stays the
only place where versions are pinned, and pip of any age can follow it (`pip install --group` needs a recent one).
"""

from __future__ import annotations

import sys
import tomllib
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def group() -> list[str]:
    """Return the development group's requirements."""
    return list(tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]["dev"])


def pins() -> list[str]:
    """Return `name==version` for each package of the lock; one locked in several versions is left to pip."""
    packages = tomllib.loads((ROOT / "uv.lock").read_text())["package"]
    times = Counter(package["name"] for package in packages)
    return [
        f"{package['name']}=={package['version']}"
        for package in packages
        if times[package["name"]] == 1 and "registry" in package["source"]
    ]


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    (folder / "dev.txt").write_text("\n".join(group()) + "\n")
    (folder / "pins.txt").write_text("\n".join(pins()) + "\n")
