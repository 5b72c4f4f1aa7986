"""JSON values of a file one after another: of an array, on lines, or side by side, without the file in memory."""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator
from typing import Any, BinaryIO

from quartet_server.importers.faults import UnfitError
from quartet_server.importers.text import no_constant

LARGEST = 64 << 20
"""Characters of one value."""
_PIECE = 1 << 20
_SPACE = " \t\r\n\ufeff"


def values(file: BinaryIO, largest: int = LARGEST) -> Iterator[Any]:
    """Yield the elements of the array that a file holds, or the values in it. Raises UnfitError where it cannot be read further."""
    decoder = json.JSONDecoder(parse_constant=no_constant)
    text = _Window(file, largest)
    in_array = text.next_character() == "["
    if in_array:
        text.advance(1)
    while True:
        character = text.next_character()
        if in_array and character == "]":
            return
        if not character:
            if in_array:
                raise UnfitError("the array does not end")
            return
        yield text.decode(decoder)
        character = text.next_character()
        if character == ",":
            text.advance(1)
        elif in_array and character != "]":
            raise UnfitError("the array has no comma between two values" if character else "the array does not end")


class _Window:
    """The part of a file's text that is being decoded."""

    def __init__(self, file: BinaryIO, largest: int) -> None:
        self._file = file
        self._largest = largest
        self._decode = codecs.getincrementaldecoder("utf-8")("strict").decode
        self._text = ""
        self._at = 0
        self._ended = False

    def next_character(self) -> str:
        """Return the next character that is no space; empty at the end."""
        while True:
            while self._at < len(self._text):
                if self._text[self._at] not in _SPACE:
                    return self._text[self._at]
                self._at += 1
            if not self._more(_PIECE):
                return ""

    def advance(self, count: int) -> None:
        self._at += count

    def decode(self, decoder: json.JSONDecoder) -> Any:
        """Return the value that begins here."""
        while True:
            try:
                value, end = decoder.raw_decode(self._text, self._at)
            except RecursionError:
                raise UnfitError("a value is nested too deep") from None
            except ValueError as error:
                held = len(self._text) - self._at
                if _is_broken(error, len(self._text)):
                    raise UnfitError(f"it is not JSON: {error}") from None
                if held > self._largest:
                    raise UnfitError(f"a value is longer than {self._largest:,} characters") from None
                if not self._more(max(_PIECE, held)):  # twice as much each time: what is decoded again is bounded
                    raise UnfitError(f"it is not JSON: {error}") from None
                continue
            if end == len(self._text) and not self._ended and not isinstance(value, dict | list | str):
                self._more(_PIECE)  # a number may go on
                continue
            self._at = end
            return value

    def _more(self, size: int) -> bool:
        """Read on; tell whether there was anything."""
        if self._ended:
            return False
        try:
            data = self._file.read(size)
            new = self._decode(data, not data)
        except UnicodeDecodeError as error:
            raise UnfitError(f"it is not UTF-8: {error.reason}") from None
        self._ended = not data
        self._text = self._text[self._at :] + new
        self._at = 0
        return bool(data)


def _is_broken(error: ValueError, length: int) -> bool:
    """Tell whether more text could not help: the mistake is not near the end, as that of a value cut off would be."""
    if not isinstance(error, json.JSONDecodeError):
        return True
    return error.pos < length - 16 and not error.msg.startswith("Unterminated")
