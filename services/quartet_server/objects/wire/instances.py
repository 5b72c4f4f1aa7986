"""Instances of the Remote Execution API are zones: which one a call means, and whether its caller may act there."""

from __future__ import annotations

from typing import Any

from quartet.cluster.storage.v1 import storage_pb2  # noqa: F401
