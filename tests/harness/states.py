"""A state of a project as a checkpoint has it, for tests to spoil."""

from __future__ import annotations

PROJECT = {"id": "p", "name": "p", "mode": "genesis", "root_path": "/", "created_at": 1, "updated_at": 1}
TASK = {"id": "t", "project_id": "p", "name": "t", "created_at": 1, "updated_at": 1}
USABLE = {"format": 1, "project": PROJECT, "features": [], "sub_features": [], "tasks": [TASK], "requirements": []}
