"""Signatures: made with the key in a file, checked against public keys, for one purpose each."""

import base64
import subprocess
from hashlib import sha256
from pathlib import Path

import pytest

from state.signing import CONTROL, VERSION, KeyFileError, SigningKey, TrustedKeys


def test_openssl_verifies_what_a_key_signs(tmp_path: Path) -> None:
    key = SigningKey.generate()
    (tmp_path / "key.pem").write_bytes(key.pem())
    (tmp_path / "data").write_bytes(CONTROL + b"payload")
    signature = base64.b64decode(key.sign(CONTROL, b"payload"))
    (tmp_path / "signature").write_bytes(signature)
    command = "openssl pkeyutl -verify -rawin -inkey key.pem -sigfile signature -in data"
    done = subprocess.run(command.split(), check=True, cwd=tmp_path, capture_output=True, text=True)
    assert "Signature Verified Successfully" in done.stdout


def test_a_key_is_read_from_its_file_and_named_by_its_digest(tmp_path: Path) -> None:
    key = SigningKey.generate()
    (tmp_path / "key.pem").write_bytes(key.pem())
    again = SigningKey.load(tmp_path / "key.pem")
    assert again.public == key.public
    assert key.key_id == sha256(base64.b64decode(key.public)).hexdigest()[:16]


def test_another_byte_purpose_key_or_text_is_not_what_was_signed() -> None:
    key, other = SigningKey.generate(), SigningKey.generate()
    trusted = TrustedKeys([key.public, other.public])
    signature = key.sign(CONTROL, b"data")
    assert trusted.verify(CONTROL, b"data", key.key_id, signature)
    assert not trusted.verify(CONTROL, b"date", key.key_id, signature)
    assert not trusted.verify(VERSION, b"data", key.key_id, signature)
    assert not trusted.verify(CONTROL, b"data", other.key_id, signature)
    assert not trusted.verify(CONTROL, b"data", key.key_id, "no base64!")
    assert not trusted.verify(CONTROL, b"data", key.key_id, signature[:-8])
    assert not TrustedKeys([other.public]).verify(CONTROL, b"data", key.key_id, signature)


def test_a_key_may_be_trusted_for_one_issuer_only() -> None:
    key, any_issuer = SigningKey.generate(), SigningKey.generate()
    trusted = TrustedKeys([f"risk:team:{key.public}", any_issuer.public])
    assert trusted.issuer(key.key_id) == "risk:team"
    assert trusted.issuer(any_issuer.key_id) is None
    assert key.key_id in trusted and "0" * 16 not in trusted


@pytest.mark.parametrize("entry", ["", "ops:", "not base64", "QUJD", "ops:QUJD"])
def test_what_is_no_public_key_is_refused(entry: str) -> None:
    with pytest.raises(ValueError, match="is no public key"):
        TrustedKeys([entry])


def test_a_file_without_a_key_is_refused(tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match="holds no signing key"):
        SigningKey.load(tmp_path / "missing.pem")
    (tmp_path / "text.pem").write_text("hello")
    with pytest.raises(KeyFileError, match="holds no signing key"):
        SigningKey.load(tmp_path / "text.pem")
    subprocess.run(
        ["openssl", "genpkey", "-algorithm", "ed448", "-out", tmp_path / "other.pem"],
        check=True,
        capture_output=True,
    )
    with pytest.raises(KeyFileError, match="a key of another kind"):
        SigningKey.load(tmp_path / "other.pem")
