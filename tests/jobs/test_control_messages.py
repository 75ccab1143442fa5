"""Control messages as texts, and signing them with this project and with openssl."""

import base64
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from jobs.control_messages import read_message, read_payload, sign
from jobs.errors import Failure
from state.signing import CONTROL, SigningKey, TrustedKeys

# Odd white space and order on purpose: the text is what counts.
PAYLOAD = '{ "op":"promote",\n  "model": "b", "job":"fraud","issuer":"ops",  "seq": 7 }\n'


def test_the_signed_form_holds_the_very_text_and_a_signature_over_it():
    key = SigningKey.generate()
    signed = json.loads(sign(PAYLOAD, key))
    assert signed.keys() == {"payload", "key_id", "signature"}
    assert signed["payload"] == PAYLOAD
    trusted = TrustedKeys([key.public])
    assert trusted.verify(CONTROL, PAYLOAD.encode(), signed["key_id"], signed["signature"])
    read = read_message(json.dumps(signed))
    assert (read.text, read.key_id, read.payload.model) == (PAYLOAD.encode(), key.key_id, "b")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("promote b", "no control message: JSON is malformed"),
        ("[1]", "no control message: list instead of an object"),
        ("", "no control message: the record is empty"),
        ("\ufeff{}", "begins with a byte order mark"),
        ('{"op":"promoet"}', "op is 'promoet'; did you mean \"promote\"?"),
        ('{"job":"j","issuer":"i","op":"freeze","model":"m"}', "missing required field `seq`"),
        ('{"job":"j","issuer":"i","seq":"1","op":"freeze","model":"m"}', "Expected `int`"),
        ('{"job":"j","issuer":"i","seq":1,"op":"freeze","model":"m","why":1}', "unknown field"),
        ('{"job":"j","issuer":"i","seq":1,"op":"pin","model":"m"}', "pin needs version"),
        ("[" * 100_000, "no control message: "),
    ],
)
def test_what_is_no_payload_is_refused_with_what_is_wrong(text, said):
    with pytest.raises(Failure) as refused:
        sign(text, SigningKey.generate())
    assert said in str(refused.value)


def test_a_signed_message_is_not_signed_again():
    key = SigningKey.generate()
    with pytest.raises(Failure, match="signed message already"):
        read_payload(sign(PAYLOAD, key))


with_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="there is no openssl")


def openssl(*arguments, **options):
    return subprocess.run(["openssl", *arguments], check=True, capture_output=True, **options)


@with_openssl
def test_a_key_and_a_signature_that_openssl_made_are_as_good(tmp_path):
    private, signed, signature = (tmp_path / name for name in ("key.pem", "signed", "signature"))
    openssl("genpkey", "-algorithm", "ed25519", "-out", private)
    signed.write_bytes(b"riverrun-control-v1\0" + PAYLOAD.encode())
    openssl("pkeyutl", "-sign", "-rawin", "-inkey", private, "-in", signed, "-out", signature)
    key = SigningKey.load(private)
    der = openssl("pkey", "-in", private, "-pubout", "-outform", "DER").stdout
    # The 32 bytes of the key are the last ones of its DER form.
    assert base64.b64encode(der[-32:]).decode() == key.public
    by_hand = {
        "payload": PAYLOAD,
        "key_id": key.key_id,
        "signature": base64.b64encode(signature.read_bytes()).decode(),
    }
    # Ed25519 draws nothing: there is one signature.
    assert json.loads(sign(PAYLOAD, key)) == by_hand


@with_openssl
def test_openssl_verifies_what_was_signed_here(tmp_path):
    key = SigningKey.generate()
    private, signed, signature = (tmp_path / name for name in ("key.pem", "signed", "signature"))
    private.write_bytes(key.pem())
    signed.write_bytes(b"riverrun-control-v1\0" + PAYLOAD.encode())
    signature.write_bytes(base64.b64decode(json.loads(sign(PAYLOAD, key))["signature"]))
    said = openssl(
        "pkeyutl", "-verify", "-rawin", "-inkey", private, "-in", signed, "-sigfile", signature
    )
    assert b"Signature Verified Successfully" in said.stdout


@with_openssl
def test_what_the_documentation_signs_by_hand_is_signed(tmp_path):
    page = Path(__file__).parents[2] / "docs" / "control.md"
    [script] = re.findall(r"^```sh\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)
    signing, *_ = script.split("riverrun control send")
    done = subprocess.run(
        ["bash", "-euc", signing], cwd=tmp_path, check=True, capture_output=True, text=True
    )
    key = SigningKey.load(tmp_path / "ops.pem")
    assert done.stdout.strip() == key.public
    payload = (tmp_path / "payload.json").read_text()
    assert json.loads((tmp_path / "message.json").read_text()) == json.loads(sign(payload, key))
