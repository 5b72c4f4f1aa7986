"""Rows of every kind: a table that refers to itself, one that refers to it, and a full-text index that triggers fill."""

from __future__ import annotations

import sqlalchemy as sa
from quartet_server.records import floats
from quartet_server.records.contract import Database, Dialect, Session
from quartet_server.records.fields import VectorType
from quartet_server.records.schema import schema


def _tree(metadata: sa.MetaData) -> None:
    sa.Table(
        "leaves",
        metadata,
        sa.Column("zone", sa.Text, primary_key=True),
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("parent", sa.Text),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("weight", sa.Double),
        sa.Column("bytes", sa.LargeBinary),
        sa.Column("green", sa.Boolean, nullable=False),
        sa.Column("vector", VectorType),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.ForeignKeyConstraint(["zone", "parent"], ["leaves.zone", "leaves.id"]),
    )
    sa.Table(
        "bugs",
        metadata,
        sa.Column("zone", sa.Text, primary_key=True),
        sa.Column("leaf", sa.Text, primary_key=True),
        sa.Column("number", sa.BigInteger, primary_key=True),
        sa.ForeignKeyConstraint(["zone", "leaf"], ["leaves.zone", "leaves.id"], ondelete="CASCADE"),
    )


TREE = schema(
    "tree",
    owner="TreeService",
    messages=(),
    extra=_tree,
    ddl={
        Dialect.SQLITE: (
            "CREATE VIRTUAL TABLE leaves_fts USING fts5(text, content='leaves')",
            "CREATE TRIGGER leaves_ai AFTER INSERT ON leaves BEGIN"
            " INSERT INTO leaves_fts(rowid, text) VALUES (new.rowid, new.text); END",
            "CREATE TRIGGER leaves_ad AFTER DELETE ON leaves BEGIN"
            " INSERT INTO leaves_fts(leaves_fts, rowid, text) VALUES ('delete', old.rowid, old.text); END",
        )
    },
)
LEAVES, BUGS = TREE.metadata.tables["leaves"], TREE.metadata.tables["bugs"]


def _vector(dialect: Dialect) -> bytes | str:
    return floats.pack((1.0, 2.5), "vector") if dialect is Dialect.SQLITE else floats.text((1.0, 2.5), "vector")


async def plant(database: Database, zone: str, count: int) -> None:
    """Fill a zone: children before their parents in the order of keys, and every type of value."""

    def work(session: Session) -> None:
        leaves = [
            {
                "zone": zone,
                "id": f"{count - i:05d}",
                "parent": f"{count - (i - 1) // 2:05d}" if i else None,
                "text": f"leaf {'oak' if i % 3 else 'elm'} {i}",
                "weight": i / 7 if i % 2 else None,
                "bytes": bytes([i % 256, 0, 255]),
                "green": bool(i % 2),
                "vector": _vector(session.dialect) if i % 5 == 0 else None,
                "revision": i % 9 + 1,
            }
            for i in range(count)
        ]
        session.connection.execute(sa.insert(LEAVES), leaves)
        session.connection.execute(
            sa.insert(BUGS),
            [{"zone": zone, "leaf": leaf["id"], "number": 2**40 + n} for n in (1, 2) for leaf in leaves],
        )

    await database.write(zone, work)
