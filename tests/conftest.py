"""What every test process shares."""

from __future__ import annotations

import os

os.environ.setdefault("GRPC_VERBOSITY", "ERROR")  # servers that stop are the tests' business, not the reader's
