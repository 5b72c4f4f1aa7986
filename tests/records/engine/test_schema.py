"""What the options of a message make of it, and which messages are refused as tables."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa
from harness.messages import compiled
from quartet.projects.v1 import plans_pb2 as pb
from quartet_server.records.fields import Kind, SchemaError
from quartet_server.records.schema import schema

RECORD = 'option (quartet.options.v1.table) = {database: "made" name: "things"'
KEY = "string id = 1 [(quartet.options.v1.column) = {primary_key: true}];"


def made(body: str, folder: Path) -> sa.MetaData:
    """Return the tables of messages, in the order of the text."""
    return schema("made", owner="Test", messages=tuple(compiled(body, folder).values())).metadata


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("message A { string id = 1; }", "is a record of no database"),
        (f'message A {{ option (quartet.options.v1.table) = {{database: "other" name: "a"}}; {KEY} }}', "of other"),
        (f"message A {{ {RECORD}}}; string id = 1; }}", "no primary key"),
        (f"message A {{ {RECORD}}}; {KEY} uint64 n = 2; }}", "take int64"),
        (f"message A {{ {RECORD}}}; {KEY} string zone = 2; }}", "the engine's own"),
        (f"message A {{ {RECORD}}}; {KEY} int64 revision = 2; }}", "the engine's own"),
        (f'message A {{ {RECORD} index: {{columns: "b" name: "i"}}}}; {KEY} }}', "no column 'b'"),
        (f'message A {{ {RECORD} index: {{columns: "id UP" name: "i"}}}}; {KEY} }}', "no column 'id UP'"),
        (f'message A {{ {RECORD} index: {{columns: "id" name: "things"}}}}; {KEY} }}', "more than one"),
        (
            f'message A {{ {RECORD}}}; {KEY} string b = 2 [(quartet.options.v1.column) = {{references: "things.id"}}]; }}',
            "must be `optional`",
        ),
        (
            f'message A {{ {RECORD}}}; {KEY} optional string b = 2 [(quartet.options.v1.column) = {{references: "id"}}]; }}',
            "not TABLE.COLUMN",
        ),
        (
            f'message A {{ {RECORD}}}; {KEY} optional int32 b = 2 [(quartet.options.v1.column) = {{default: "x"}}]; }}',
            "no default of a integer",
        ),
        (f"message A {{ {RECORD}}}; {KEY} map<string, google.protobuf.Struct> b = 2; }}", "take a Struct"),
        (f"message A {{ {RECORD}}}; {KEY} E e = 2; enum E {{ NONE = 0; ONE = 1; }} }}", r"\*_UNSPECIFIED"),
    ],
)
def test_a_message_that_is_no_table_is_refused_when_the_process_starts(body: str, why: str, tmp_path: Path) -> None:
    with pytest.raises(SchemaError, match=why):
        made(body, tmp_path)


def test_a_reference_to_a_table_that_is_not_there_is_refused(tmp_path: Path) -> None:
    body = f'message A {{ {RECORD}}}; {KEY} optional string b = 2 [(quartet.options.v1.column) = {{references: "none.id"}}]; }}'
    with pytest.raises(sa.exc.NoReferencedTableError):
        made(body, tmp_path)


def test_every_kind_of_field_has_its_column(tmp_path: Path) -> None:
    body = f"""message A {{ {RECORD} index: {{columns: "n DESC, t" name: "i" where: "n > 0" unique: true}}}}; {KEY}
      optional string t = 2; int64 n = 3; double r = 4; bool b = 5; bytes y = 6; google.protobuf.Timestamp at = 7;
      repeated string words = 8; repeated float vector = 9; google.protobuf.Struct doc = 10; map<string, int32> counts = 11;
      google.protobuf.Timestamp created_at = 12 [(google.api.field_behavior) = OUTPUT_ONLY]; string etag = 13;
      string must = 14 [(google.api.field_behavior) = REQUIRED];
      optional string word = 15 [(quartet.options.v1.column) = {{default: "it's"}}]; }}"""
    found = schema("made", owner="Test", messages=tuple(compiled(body, tmp_path).values()))
    [record] = found.records
    assert {name: (one.kind, one.nullable) for name, one in record.fields.items()} == {
        "id": (Kind.TEXT, False),
        "t": (Kind.TEXT, True),
        "n": (Kind.INTEGER, False),
        "r": (Kind.REAL, False),
        "b": (Kind.BOOLEAN, False),
        "y": (Kind.BYTES, False),
        "at": (Kind.TIME, True),
        "words": (Kind.JSON, True),
        "vector": (Kind.VECTOR, True),
        "doc": (Kind.JSON, True),
        "counts": (Kind.JSON, True),
        "created_at": (Kind.TIME, False),
        "must": (Kind.TEXT, False),
        "word": (Kind.TEXT, False),
    }
    assert [one.name for one in record.table.columns][:2] == ["zone", "id"]
    assert [one.name for one in record.table.columns][-1] == "revision"
    [index] = record.table.indexes
    assert index.unique
    engine = sa.create_engine("sqlite://")
    found.metadata.create_all(engine)  # the quote in the default is one of SQL's, too
    with engine.begin() as connection:
        [sql] = connection.exec_driver_sql("SELECT sql FROM sqlite_master WHERE name = 'i'").scalars()
        assert sql == "CREATE UNIQUE INDEX i ON things (zone, n DESC, t) WHERE n > 0"
        connection.exec_driver_sql("INSERT INTO things (zone, id, created_at, must, y) VALUES ('z', 'a', 1, '', x'')")
        assert connection.exec_driver_sql("SELECT word, n, b FROM things").one() == ("it's", 0, 0)
    engine.dispose()


def test_the_zone_is_first_in_every_key_index_and_reference() -> None:
    found = schema("projects", owner="Test", messages=(pb.Project, pb.Feature, pb.SubFeature, pb.Task)).metadata
    for table in found.tables.values():
        assert next(iter(table.primary_key.columns)).name == "zone"
        assert all(next(iter(index.columns)).name == "zone" for index in table.indexes)
        assert all(key.column_keys[0] == "zone" for key in table.foreign_key_constraints)
    assert sum(len(table.foreign_key_constraints) for table in found.tables.values()) == 5
