"""The document that LoadConfig takes: what it may say, and where it says something else."""

from __future__ import annotations

import json
import tomllib

from quartet.workspaces.v1 import workspaces_pb2 as pb

from quartet_server.errors import FieldInvalid
from quartet_server.workspaces.records import MEMORY, WORKSPACE, Declaration

LONGEST = 256 << 10
MOST = 1000
_LISTS = {"workspaces": WORKSPACE, "memories": MEMORY}
_TEXTS = ("name", "path", "description", "created_by")


def parse(text: str, form: pb.ConfigFormat.ValueType) -> list[Declaration]:
    """Return what a document declares, workspaces first. Raises FieldInvalid, which names the place."""
    if (size := len(text.encode())) > LONGEST:
        raise FieldInvalid.of("document", f"{size} bytes, at most {LONGEST} are taken")
    if form not in (pb.CONFIG_FORMAT_UNSPECIFIED, pb.CONFIG_FORMAT_TOML, pb.CONFIG_FORMAT_JSON):
        raise FieldInvalid.of("format", "is not a known format")
    document = _read(text, form)
    if not isinstance(document, dict):
        raise FieldInvalid.of("document", "is a table with the lists workspaces and memories")
    _known(document, _LISTS, "document")
    declared = [
        _declaration(item, f"document.{name}[{i}]", kind)
        for name, kind in _LISTS.items()
        for i, item in enumerate(_list(document.get(name, []), f"document.{name}"))
    ]
    if len(declared) > MOST:
        raise FieldInvalid.of("document", f"{len(declared)} declarations, at most {MOST} are taken")
    seen: set[str] = set()
    for one in declared:
        if one.name in seen:
            raise FieldInvalid.of("document", f"declares {one.name} twice")
        seen.add(one.name)
    return declared


def _read(text: str, form: pb.ConfigFormat.ValueType) -> object:
    """Parse text. Raises FieldInvalid."""
    try:
        if form == pb.CONFIG_FORMAT_JSON:
            return json.loads(text)
        return tomllib.loads(text)
    except RecursionError:
        raise FieldInvalid.of("document", "is nested too deep") from None
    except ValueError as error:  # of both parsers
        raise FieldInvalid.of("document", str(error)[:200]) from None


def _declaration(item: object, at: str, kind: pb.WorkspaceKind.ValueType) -> Declaration:
    if not isinstance(item, dict):
        raise FieldInvalid.of(at, "is a table")
    _known(item, (*_TEXTS, "labels", "create"), at)
    texts = {name: _text(item.get(name, ""), f"{at}.{name}") for name in _TEXTS}
    labels = item.get("labels", {})
    if not isinstance(labels, dict):
        raise FieldInvalid.of(f"{at}.labels", "is a table of texts")
    create = item.get("create", False)
    if not isinstance(create, bool):
        raise FieldInvalid.of(f"{at}.create", "is true or false")
    declared = Declaration(
        kind=kind,
        labels={_text(key, f"{at}.labels"): _text(value, f"{at}.labels.{key[:64]}") for key, value in labels.items()},
        create=create,
        **texts,
    )
    declared.check(f"{at}.")
    return declared


def _list(value: object, at: str) -> list[object]:
    if not isinstance(value, list):
        raise FieldInvalid.of(at, "is a list")
    return value


def _text(value: object, at: str) -> str:
    """Return a text that can be stored. Raises FieldInvalid."""
    if not isinstance(value, str):
        raise FieldInvalid.of(at, "is a text")
    try:
        value.encode()
    except UnicodeEncodeError:  # JSON can spell half a character
        raise FieldInvalid.of(at, "is not Unicode") from None
    return value


def _known(table: dict[str, object], names: object, at: str) -> None:
    known = list(names)  # type: ignore[call-overload]
    if wrong := [name for name in table if name not in known]:
        raise FieldInvalid.of(at, f"has no {wrong[0][:64]!r}; it may have {', '.join(known)}")
