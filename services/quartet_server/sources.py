"""Where configuration values come from besides flags: the environment and a TOML file, in cyclopts's terms."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import fields
from pathlib import Path

from cyclopts import App, ArgumentCollection, CycloptsError, Token

from quartet_server.config import Config

PREFIX = "QUARTET_"
FILE_VARIABLE = "QUARTET_CONFIG"
FILE_FLAG = "--config"


class Sources:
    """Fills what flags left open, from `QUARTET_SECTION_KEY` and then from the file; remembers where each came from.

    Attributes:
        origin: (section, key) -> "flag", the variable's name or the file's path, of every value that is no default.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        """Take the environment; the file's path is read from the flag or the environment at each parse."""
        self._environ = environ
        self.origin: dict[tuple[str, str], str] = {}

    def __call__(self, app: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
        """Add tokens to the arguments that flags did not set. Raises CycloptsError for a bad file."""
        open_arguments = {argument.keys: argument for argument in arguments if len(argument.keys) == 2}
        if not open_arguments:  # a command that is not configured
            return
        path = self._environ.get(FILE_VARIABLE)
        for argument in arguments:
            if argument.name == FILE_FLAG and argument.tokens:
                path = argument.tokens[0].value
        values = read_file(Path(path)) if path else {}
        for (section, key), argument in open_arguments.items():
            variable = f"{PREFIX}{section}_{key}".upper()
            if argument.tokens:
                self.origin[section, key] = "flag"
            elif variable in self._environ:
                argument.append(Token(keyword=variable, value=self._environ[variable], source="the environment"))
                self.origin[section, key] = variable
            elif (section, key) in values:
                value = values[section, key]
                argument.append(Token(keyword=f"[{section}] {key}", value=value, source=str(path)))
                self.origin[section, key] = str(path)


def read_file(path: Path) -> dict[tuple[str, str], str]:
    """Return (section, key) -> value as a flag would spell it.

    Raises CycloptsError when the file cannot be read, is not TOML, or has a section or key that does not exist.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CycloptsError(msg=f"Cannot read the configuration {path}: {error.strerror}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise CycloptsError(msg=f"{path} is not TOML: {error}.") from error
    known = {section.name: _keys(section.name) for section in fields(Config)}
    values: dict[tuple[str, str], str] = {}
    for section, table in document.items():
        if section not in known or not isinstance(table, dict):
            raise CycloptsError(msg=f"Unknown section [{section}] in {path}.{_did_you_mean(section, known, '[{}]')}")
        for key, value in table.items():
            if key not in known[section]:
                guess = _did_you_mean(key, known[section], "{}")
                raise CycloptsError(msg=f"Unknown key {key} in [{section}] of {path}.{guess}")
            values[section, key] = _spelled(value)
    return values


def unknown_variables(environ: Mapping[str, str]) -> list[str]:
    """Return variables that name a section of the configuration but no key of it, sorted: spelling mistakes."""
    known = {f"{PREFIX}{section}_{key}".upper() for section, keys in _sections() for key in keys}
    prefixes = tuple(f"{PREFIX}{section}_".upper() for section, _ in _sections())
    return sorted(name for name in environ if name.startswith(prefixes) and name not in known)


def _sections() -> list[tuple[str, list[str]]]:
    return [(section.name, _keys(section.name)) for section in fields(Config)]


def _keys(section: str) -> list[str]:
    return [key.name for key in fields(getattr(Config(), section))]


def _did_you_mean(word: str, words: Iterable[str], form: str) -> str:
    close = difflib.get_close_matches(word, list(words), n=1, cutoff=0.5)
    return f" Did you mean {form.format(close[0])}?" if close else ""


def _spelled(value: object) -> str:
    """Spell a TOML value the way a flag would."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return ",".join(str(item) for item in value)
    return str(value)
