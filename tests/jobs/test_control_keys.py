"""Files of keys: private ones stay private, none is written over."""

import stat

import pytest

from jobs.control_keys import load_key, make_key, open_to_others
from jobs.errors import Failure
from state.signing import TrustedKeys


@pytest.mark.parametrize("issuer", [None, "ops", "team:ops"])
def test_a_new_key_is_for_its_owner_only_and_its_entry_is_one_that_is_trusted(tmp_path, issuer):
    path = tmp_path / "ops.pem"
    made = make_key(path, issuer)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not open_to_others(path)
    assert (tmp_path / "ops.pem.pub").read_text() == made.entry + "\n"
    key = load_key(path)
    assert key.key_id == made.key_id
    assert made.entry == (key.public if issuer is None else f"{issuer}:{key.public}")
    assert TrustedKeys([made.entry]).issuer(key.key_id) == issuer


@pytest.mark.parametrize("there", ["ops.pem", "ops.pem.pub"])
def test_neither_file_is_written_over(tmp_path, there):
    (tmp_path / there).write_text("precious")
    with pytest.raises(Failure, match=f"{there} exists"):
        make_key(tmp_path / "ops.pem")
    assert [file.name for file in tmp_path.iterdir()] == [there]
    assert (tmp_path / there).read_text() == "precious"


def test_what_cannot_be_made_says_why(tmp_path):
    with pytest.raises(Failure, match="No such file or directory"):
        make_key(tmp_path / "missing" / "ops.pem")
    with pytest.raises(Failure, match="the issuer is empty"):
        make_key(tmp_path / "ops.pem", "")


def test_what_is_no_key_says_so(tmp_path):
    path = tmp_path / "ops.pem"
    with pytest.raises(Failure, match="holds no signing key: .*No such file"):
        load_key(path)
    path.write_text("not a key")
    with pytest.raises(Failure, match="holds no signing key"):
        load_key(path)
    with pytest.raises(Failure, match="holds no signing key"):
        load_key(tmp_path)


def test_a_key_that_others_can_read_is_told_of(tmp_path, riverrun):
    key, payload = tmp_path / "ops.pem", tmp_path / "payload.json"
    make_key(key)
    payload.write_text('{"job":"j","issuer":"i","seq":1,"op":"freeze","model":"m"}')
    assert riverrun("control", "sign", payload, "--key", key).err == ""
    key.chmod(0o644)
    signed = riverrun("control", "sign", payload, "--key", key)
    assert signed.code == 0
    assert signed.err == f"warning: others than you can read {key}: chmod 600 {key}\n"
