"""Writes the next revision of a database, for a developer who has changed a schema: `python -m quartet_server.records.revising`.

What the schema has and the committed revisions do not make becomes Alembic operations that both databases run, as protos grow by
additions; new hand-written statements are copied as they are. Read what it wrote before you commit it.
"""

from __future__ import annotations

import re
import sys
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import pysqlite3
import sqlalchemy as sa
from alembic.autogenerate import produce_migrations, render_python_code
from alembic.operations import ops
from alembic.runtime.migration import MigrationContext

from quartet_server.catalog import SCHEMAS
from quartet_server.records.contract import Dialect
from quartet_server.records.fields import VectorType
from quartet_server.records.migrating import VERSION_TABLE, History, bring_up, folder_of
from quartet_server.records.schema import Schema

PLUGINS = ["alembic.autogenerate.*", "alembic.ext.checkconstraint_byname"]
"""What Alembic compares: all it does by itself, and CHECKs by their names."""
_NAME = re.compile(r"[a-z0-9_]{1,80}")
_HEAD = '''"""{about}."""

from __future__ import annotations

{imports}

revision = "{name}"
down_revision{down}
{ddl}

def upgrade() -> None:
    """Bring the tables from the revision before to this one."""
    {body}
'''


def compare(connection: sa.Connection, schema: Schema, only: Collection[str] = ()) -> ops.UpgradeOps:
    """Return what the tables at `connection` lack of `schema`, as operations; empty when they are the same.

    With `only`, what these tables lack.
    """
    ours = set(schema.metadata.tables)
    foreign = _made_by_statements(schema)
    handmade = set(re.findall(r"\w+", " ".join(one for statements in schema.ddl.values() for one in statements)))

    def counts(name: str | None, kind: str, _parents: Mapping[str, str | None]) -> bool:
        return kind != "table" or name in ours or not (name == VERSION_TABLE or str(name).startswith(foreign))

    def chosen(_item: object, name: str | None, kind: str, reflected: bool, other: object) -> bool:
        if kind == "table":
            return not only or name in only
        return not (reflected and other is None and name in handmade)

    options = {
        "compare_type": True,
        "autogenerate_plugins": PLUGINS,
        "include_name": counts,
        "include_object": chosen,
        "render_item": _render,
    }
    context = MigrationContext.configure(connection, opts=options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of indexes with a DESC, which it cannot compare
        warnings.simplefilter("ignore", sa.exc.SAWarning)  # of pgvector's type, which SQLAlchemy does not know
        found = produce_migrations(context, schema.metadata).upgrade_ops
    assert found is not None
    return found


def revision(schema: Schema, folder: Path, name: str, about: str = "", only: Collection[str] = ()) -> str:
    """Return the text of the next revision; empty where there is nothing to do.

    With `only`, no more than what concerns these tables. Raises ValueError for a bad name.
    """
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no name of a revision: 1 to 80 of a-z, 0-9 and _")
    folder.mkdir(parents=True, exist_ok=True)
    history = History(schema.database, folder)
    if name in {one.name for one in history.revisions}:
        raise ValueError(f"there is a revision {name} already")
    engine = sa.create_engine("sqlite://", module=pysqlite3)
    with engine.connect() as connection:
        bring_up(connection, history, allowed=True)
        found = compare(connection, schema, only)
        connection.rollback()
        statements = _new_statements(schema, folder)
        if found.is_empty() and not any(statements.values()):
            return ""
        context = MigrationContext.configure(connection)
        body = render_python_code(found, render_item=_render, migration_context=context)
    engine.dispose()
    return _text(name, about or name.lstrip("0123456789_").replace("_", " ") or name, history.head, body, statements)


def _text(name: str, about: str, down: str, body: str, statements: Mapping[Dialect, Sequence[str]]) -> str:
    body = re.sub(r"# ### .*?###|, (?:sqlite|postgresql)_where=None", "", body).strip()
    body = "" if body == "pass" else body
    ddl = ""
    if any(statements.values()):
        parts = [f"    {dialect.value!r}: ({''.join(map(_quoted, found))}),\n" for dialect, found in statements.items()]
        ddl = f"\nDDL = {{\n{''.join(parts)}}}\n"
        body += "\n    run(DDL)"
    fields = [one for one in ("TEXT", "VectorType") if re.search(rf"\b{one}\b", body)]
    imports = [
        *(["import sqlalchemy as sa"] if "sa." in body else []),
        *(["from alembic import op"] if "op." in body else []),
        "",
        *([f"from quartet_server.records.fields import {', '.join(fields)}"] if fields else []),
        *(["from quartet_server.records.migrating import run"] if ddl else []),
    ]
    return _HEAD.format(
        about=about[:1].upper() + about[1:].rstrip("."),
        imports="\n".join(imports).strip(),
        name=name,
        down=f' = "{down}"' if down else ": str | None = None",
        ddl=ddl,
        body=body.strip(),
    )


def _quoted(statement: str) -> str:
    assert '"""' not in statement
    escaped = statement.strip().replace("\\", "\\\\")
    return f'\n        """\n        {escaped}\n        """,'


def _render(kind: str, item: Any, _context: object) -> str | Literal[False]:
    """Spell what Alembic would spell for one database only, or not import."""
    if kind == "type" and isinstance(item, VectorType):
        return "VectorType()"
    if kind == "type" and isinstance(item, sa.Text):
        return "TEXT"
    if kind == "server_default":
        match getattr(item, "arg", None):
            case str() as text:
                return repr(text)
            case sa.True_():
                return "sa.true()"
            case sa.False_():
                return "sa.false()"
            case sa.TextClause() as clause:
                return f"sa.text({clause.text!r})"
    return False


def _made_by_statements(schema: Schema) -> tuple[str, ...]:
    """Return the names of tables that hand-written statements make; SQLite makes others that begin with them."""
    text = "\n".join(one for statements in schema.ddl.values() for one in statements)
    return tuple(re.findall(r"CREATE (?:VIRTUAL )?TABLE (?:IF NOT EXISTS )?\"?(\w+)", text)) or ("\0",)


def _new_statements(schema: Schema, folder: Path) -> dict[Dialect, list[str]]:
    """Return the hand-written statements that no revision has, by dialect."""
    known = " ".join(_words(path.read_text()) for path in sorted(folder.glob("*.py")))
    return {
        dialect: [one for one in statements if _words(one.replace("\\", "\\\\")) not in known]
        for dialect, statements in schema.ddl.items()
    }


def _words(text: str) -> str:
    return " ".join(text.split())


def _main(arguments: Sequence[str]) -> Iterator[str]:
    if len(arguments) < 2 or arguments[0] not in SCHEMAS:
        yield f"usage: python -m quartet_server.records.revising DATABASE NAME [TABLE...]; databases: {', '.join(SCHEMAS)}"
        return
    database, name, *only = arguments
    folder = folder_of(database)
    text = revision(SCHEMAS[database], folder, name, only=only)
    if not text:
        yield f"the revisions of {database} make all that its schema has"
        return
    (folder / "__init__.py").touch()  # what checks imports has to know whose these are
    path = folder / f"r{name}.py"
    path.write_text(text)
    yield f"{path}: read it, then run `make lint`"


if __name__ == "__main__":
    for line in _main(sys.argv[1:]):
        print(line)
