"""Encryption: values under data keys, data keys under what each node holds. AES-256-GCM throughout (SP 800-38D)."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from quartet.settings.storage.v1 import storage_pb2

from quartet_server.errors import StoreCorrupt

KEY = 32
_NONCE = 12
Random = Callable[[int], bytes]


def seal(
    key: bytes, plain: bytes, context: bytes, *, key_id: str = "", random: Random = os.urandom
) -> storage_pb2.Sealed:
    """Encrypt `plain`; it opens only with the same key and `context`, which ties it to its place."""
    nonce = random(_NONCE)
    return storage_pb2.Sealed(key_id=key_id, nonce=nonce, ciphertext=AESGCM(key).encrypt(nonce, plain, context))


def unseal(key: bytes, sealed: storage_pb2.Sealed, context: bytes) -> bytes:
    """Decrypt. Raises StoreCorrupt when the key, the context or a bit is another."""
    try:
        return AESGCM(key).decrypt(sealed.nonce, sealed.ciphertext, context)
    except (InvalidTag, ValueError):
        raise StoreCorrupt("a sealed value does not open: it was changed, or sealed under another key") from None


class Holder(Protocol):
    """What this node holds that opens data keys."""

    recipient: str
    """Under which name data keys are wrapped for it: letters, digits and `-`."""

    def unwrap(self, sealed: storage_pb2.Sealed, key_id: str) -> bytes:
        """Open a data key that was wrapped for this recipient. Raises StoreCorrupt."""


class FileKey:
    """A key from a file that every node of the cluster has: 32 bytes, raw or as 64 hexadecimal digits."""

    def __init__(self, path: Path, random: Random = os.urandom) -> None:
        """Read the file. Raises OSError, ValueError."""
        data = path.read_bytes()
        self._key = data if len(data) == KEY else bytes.fromhex(data.decode("ascii", "replace").strip())
        if len(self._key) != KEY:
            raise ValueError(f"{path} holds {len(self._key)} bytes, a key has {KEY}: openssl rand -hex 32")
        self._random = random
        digest = hashes.Hash(hashes.SHA256())
        digest.update(b"quartet-secrets-file\0" + self._key)
        self.recipient = f"file-{digest.finalize()[:8].hex()}"

    def wrap(self, key: bytes, key_id: str) -> storage_pb2.Sealed:
        """Seal a data key for every node that has the file."""
        return seal(self._key, key, _context(self.recipient, key_id), random=self._random)

    def unwrap(self, sealed: storage_pb2.Sealed, key_id: str) -> bytes:
        """See `Holder.unwrap`."""
        return unseal(self._key, sealed, _context(self.recipient, key_id))


class NodeKey:
    """A key pair of this node alone, made at its first start: `secrets.key` in the data directory, for its owner only."""

    def __init__(self, directory: Path) -> None:
        """Read the private key, or make one. Raises OSError, ValueError."""
        path = directory / "secrets.key"
        if not path.exists():
            directory.mkdir(parents=True, exist_ok=True)
            fresh = X25519PrivateKey.generate().private_bytes_raw()
            draft = path.with_suffix(".new")
            draft.unlink(missing_ok=True)
            with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
                out.write(fresh)
                out.flush()
                os.fsync(out.fileno())
            draft.replace(path)
        self._private = X25519PrivateKey.from_private_bytes(path.read_bytes())
        self.public = self._private.public_key().public_bytes_raw()
        self.recipient = f"node-{self.public.hex()}"

    def unwrap(self, sealed: storage_pb2.Sealed, key_id: str) -> bytes:
        """See `Holder.unwrap`."""
        shared = self._private.exchange(X25519PublicKey.from_public_bytes(sealed.ephemeral))
        return unseal(_agreed(shared, sealed.ephemeral, self.public), sealed, _context(self.recipient, key_id))


def wrap_for(public: bytes, key: bytes, key_id: str, random: Random = os.urandom) -> storage_pb2.Sealed:
    """Seal a data key for the node with this X25519 public key: one-time Diffie-Hellman, HKDF-SHA256, AES-256-GCM."""
    once = X25519PrivateKey.from_private_bytes(random(KEY))
    ephemeral = once.public_key().public_bytes_raw()
    agreed = _agreed(once.exchange(X25519PublicKey.from_public_bytes(public)), ephemeral, public)
    sealed = seal(agreed, key, _context(f"node-{public.hex()}", key_id), random=random)
    sealed.ephemeral = ephemeral
    return sealed


def _agreed(shared: bytes, ephemeral: bytes, public: bytes) -> bytes:
    info = b"quartet-data-key\0" + ephemeral + public
    return HKDF(algorithm=hashes.SHA256(), length=KEY, salt=None, info=info).derive(shared)


def _context(recipient: str, key_id: str) -> bytes:
    return f"key\0{recipient}\0{key_id}".encode()
