"""Ed25519 signatures (RFC 8032): whose control messages count, and which bytes may be unpickled.

What is signed begins with what it is for, so that a signature of the one never counts as another's.
"""

import base64
import binascii
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path
from typing import Final, NamedTuple, Self

import msgspec
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from events.messages import SignedControl

CONTROL: Final = b"riverrun-control-v1\0"
VERSION: Final = b"riverrun-version-v1\0"

_KEY_BYTES: Final = 32
_ID_DIGITS: Final = 16


class KeyFileError(Exception):
    """A key that cannot be read."""


class SigningKey:
    """A private key; on disk a PEM file (PKCS #8, RFC 8410), as `openssl genpkey` writes it."""

    def __init__(self, private: Ed25519PrivateKey) -> None:
        self._private = private
        raw = private.public_key().public_bytes_raw()
        self.public = base64.b64encode(raw).decode()
        self.key_id = _id_of(raw)

    @classmethod
    def generate(cls) -> Self:
        """A new key."""
        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def load(cls, path: Path) -> Self:
        """The key in a file.

        Raises
        ------
        KeyFileError
            There is none, or none of this kind.
        """
        try:
            key = serialization.load_pem_private_key(path.read_bytes(), password=None)
        except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise KeyFileError(f"{path} holds no signing key: {error}") from error
        if not isinstance(key, Ed25519PrivateKey):
            raise KeyFileError(f"{path} holds a key of another kind; Ed25519 is expected")
        return cls(key)

    def pem(self) -> bytes:
        """What stands in its file."""
        return self._private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )

    def sign(self, purpose: bytes, data: bytes) -> str:
        """Base64 of the signature over `purpose + data`."""
        return base64.b64encode(self._private.sign(purpose + data)).decode()


def signed_control(text: str, key: SigningKey) -> str:
    """The signed form of a control payload, whose text is kept to the byte."""
    signature = key.sign(CONTROL, text.encode())
    return msgspec.json.encode(SignedControl(text, key.key_id, signature)).decode()


class TrustedKey(NamedTuple):
    """A public key; `issuer` None where it may sign for any."""

    public: Ed25519PublicKey
    issuer: str | None


class TrustedKeys:
    """Public keys by their id: the first 16 hex digits of the SHA-256 of the 32 bytes.

    Parameters
    ----------
    entries : iterable of str
        `BASE64` of the public key, or `ISSUER:BASE64` for one that signs for that issuer only.

    Raises
    ------
    ValueError
        An entry is neither.

    Examples
    --------
    >>> key = SigningKey.generate()
    >>> trusted = TrustedKeys([f"ops:{key.public}"])
    >>> trusted.verify(CONTROL, b"{}", key.key_id, key.sign(CONTROL, b"{}"))
    True
    >>> trusted.verify(VERSION, b"{}", key.key_id, key.sign(CONTROL, b"{}"))
    False
    """

    def __init__(self, entries: Iterable[str] = ()) -> None:
        self._keys: dict[str, TrustedKey] = {}
        for entry in entries:
            issuer, _, text = entry.rpartition(":")
            raw = _decoded(text)
            if raw is None or len(raw) != _KEY_BYTES:
                raise ValueError(
                    f"{entry!r} is no public key: BASE64 or ISSUER:BASE64 of an Ed25519 key is expected"
                )
            public = Ed25519PublicKey.from_public_bytes(raw)
            self._keys[_id_of(raw)] = TrustedKey(public, issuer or None)

    def __bool__(self) -> bool:
        return bool(self._keys)

    def __contains__(self, key_id: str) -> bool:
        return key_id in self._keys

    def issuer(self, key_id: str) -> str | None:
        """The one issuer that this key signs for; None for any."""
        return self._keys[key_id].issuer

    def verify(self, purpose: bytes, data: bytes, key_id: str, signature: str) -> bool:
        """Whether one of these keys signed `purpose + data`."""
        found = self._keys.get(key_id)
        raw = _decoded(signature)
        if found is None or raw is None:
            return False
        try:
            found.public.verify(raw, purpose + data)
        except InvalidSignature:
            return False
        return True


def _id_of(raw: bytes) -> str:
    return sha256(raw).hexdigest()[:_ID_DIGITS]


def _decoded(text: str) -> bytes | None:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
