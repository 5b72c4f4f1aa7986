"""Files on their way: what the disk is given early it has, and what it could not keep is not called durable."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from quartet_server.objects.drafts import Drafts


def test_a_draft_that_was_synced_early_has_every_byte(tmp_path: Path) -> None:
    draft = Drafts(tmp_path / "drafts").begin()
    draft.write(b"one")
    draft.begin_to_finish()
    draft.write(b"two")
    draft.finish()
    draft.move(tmp_path / "kept")
    draft.close()
    assert (tmp_path / "kept").read_bytes() == b"onetwo"


def test_an_early_sync_that_failed_makes_the_last_one_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system tells of a failed write once, so that the last sync alone would call the file durable."""

    def failing(descriptor: int) -> None:
        monkeypatch.undo()
        raise OSError(errno.EIO, "the disk failed")

    draft = Drafts(tmp_path / "drafts").begin()
    draft.write(b"lost")
    monkeypatch.setattr(os, "fdatasync", failing)
    draft.begin_to_finish()
    draft.write(b"more")
    with pytest.raises(OSError, match="the disk failed"):
        draft.finish()
    draft.close()
    assert list((tmp_path / "drafts").iterdir()) == []


def test_a_draft_that_is_closed_is_not_synced_any_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fdatasync", synced.append)
    draft = Drafts(tmp_path / "drafts").begin()
    draft.close()
    draft.begin_to_finish()
    assert synced == []
