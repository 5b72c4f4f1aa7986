"""Files of a backup encrypted: AES-256-GCM in pieces, each bound to its file, its place and whether it is the last.

A file is `QTSEAL1` and a zero byte, 16 bytes of salt, 7 of a nonce, then pieces of 1 MiB, each with the 16 bytes of its tag. The key is scrypt's
of the secret. The nonce of a piece is the file's, the piece's number (4 bytes) and 1 for the last piece, else 0: pieces can
neither be exchanged nor cut off (https://eprint.iacr.org/2015/189, STREAM).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from quartet_server.placement_errors import BackupDamaged

SUFFIX = ".sealed"
"""Behind the name of a file that is encrypted."""
PIECE = 1 << 20
_MAGIC = b"QTSEAL1\0"
_SALT, _NONCE, _TAG = 16, 7, 16
_HEAD = len(_MAGIC) + _SALT + _NONCE


class Secret:
    """A passphrase, or the contents of a key file."""

    def __init__(self, secret: bytes) -> None:
        """Derive keys from `secret`."""
        self._secret = secret
        self._keys: dict[bytes, AESGCM] = {}

    def key(self, salt: bytes) -> AESGCM:
        """Return the key for a salt; takes some tenths of a second the first time."""
        if salt not in self._keys:
            derived = Scrypt(salt=salt, length=32, n=1 << 15, r=8, p=1).derive(self._secret)
            self._keys[salt] = AESGCM(derived)
        return self._keys[salt]


def seal(
    secret: Secret, name: str, pieces: Iterable[bytes], salt: bytes, draw: Callable[[int], bytes] = os.urandom
) -> Iterator[bytes]:
    """Yield a file's `pieces` encrypted; `salt` is 16 bytes, the same for all files of a backup."""
    nonce = draw(_NONCE)
    yield _MAGIC + salt + nonce
    for number, (piece, last) in enumerate(_exact(pieces)):
        yield secret.key(salt).encrypt(_of(nonce, number, last), piece, name.encode())


def unseal(secret: Secret, name: str, pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Yield what `seal` was given. Raises BackupDamaged for a wrong secret too: the two look the same."""
    source = _Reader(pieces)
    head = source.take(_HEAD)
    if len(head) != _HEAD or not head.startswith(_MAGIC):
        raise BackupDamaged(f"{name} is not encrypted as a backup is", file=name)
    salt, nonce = head[len(_MAGIC) : -_NONCE], head[-_NONCE:]
    key, number, last = secret.key(salt), 0, False
    while not last:
        piece = source.take(PIECE + _TAG)
        last = source.ended()
        try:
            yield key.decrypt(_of(nonce, number, last), piece, name.encode())
        except InvalidTag:
            raise BackupDamaged(f"{name} is damaged, or the passphrase or key is another one", file=name) from None
        number += 1


def draw_salt() -> bytes:
    """Draw a salt for a backup."""
    return os.urandom(_SALT)


def _of(nonce: bytes, number: int, last: bool) -> bytes:
    return nonce + number.to_bytes(4, "big") + bytes([last])


def _exact(pieces: Iterable[bytes]) -> Iterator[tuple[bytes, bool]]:
    """Yield the same bytes in pieces of 1 MiB, and whether it is the last, which may be empty."""
    source = _Reader(pieces)
    while True:
        piece = source.take(PIECE)
        last = source.ended()
        yield piece, last
        if last:
            return


class _Reader:
    """Bytes that come in pieces, taken in others."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = iter(pieces)
        self._held = b""

    def take(self, size: int) -> bytes:
        """Return `size` bytes, fewer at the end."""
        while len(self._held) < size and self._more():
            pass
        taken, self._held = self._held[:size], self._held[size:]
        return taken

    def ended(self) -> bool:
        """Tell whether nothing is left."""
        return not self._held and not self._more()

    def _more(self) -> bool:
        for piece in self._pieces:
            if piece:
                self._held += piece
                return True
        return False
