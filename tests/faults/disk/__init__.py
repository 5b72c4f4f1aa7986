"""A disk and a clock that misbehave below real processes: see DESIGN.md."""

from faults.disk.layer import DiskLayer
from faults.disk.library import DiskLayerUnavailable

__all__ = ["DiskLayer", "DiskLayerUnavailable"]
