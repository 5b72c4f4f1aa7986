"""What a store's bytes consist of, told from its file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import lmdb

FREE = "free pages and the trees' tops"
MEANING = {
    "records": "key, value and revisions as etcd writes them, 33 bytes of origin and a checksum",
    "keys": "the key, where its newest record is (54 bytes), and a copy of a record of up to 1 KiB: a range is one walk",
    "history": "where older records are of keys that were overwritten since the last compaction",
}


def tables(store: Path) -> dict[str, int]:
    """Return bytes by table of raftmeta's store, which nobody has open; free pages apart. Raises OSError, lmdb.Error."""
    state = store / (store / "CURRENT").read_text().strip()
    found: dict[str, int] = {}
    with lmdb.open(str(state), readonly=True, lock=False, max_dbs=64) as env:
        page = env.stat()["psize"]
        with env.begin() as txn:
            names = [bytes(name) for name, _ in txn.cursor()]
            for name in names:
                stat = txn.stat(env.open_db(name, txn=txn, create=False))
                pages = stat["branch_pages"] + stat["leaf_pages"] + stat["overflow_pages"]
                found[name.decode(errors="replace")] = pages * page
        total = (env.info()["last_pgno"] + 1) * page
    found[FREE] = total - sum(found.values())
    return found


def explained(found: Mapping[str, int], keys: int, logical: int) -> str:
    """Return a line per table of a percent and more: bytes per key, and what they are."""
    total = sum(found.values())
    if not total or not keys:
        return ""
    lines = [
        f"Store of one raftmeta member in the end: {total / keys:,.0f} bytes per key of {logical} bytes with its value."
    ]
    for name, size in sorted(found.items(), key=lambda item: -item[1]):
        if size >= total / 100:
            meaning = next((text for word, text in MEANING.items() if word in name), "")
            lines.append(f"- {name}: {size / keys:,.0f} bytes per key{f': {meaning}' if meaning else ''}")
    lines.append(
        "Memory: a member's own is the interpreter, its libraries and what calls need; keys and values are pages of "
        "the store's file that the kernel keeps as long as it has room, counted as resident once read."
    )
    return "\n".join(lines)
