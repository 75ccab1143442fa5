"""The artifact file: written whole, read as it was written or not at all."""

import json
import zipfile
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
import pytest

from state.artifacts import ArtifactError, Manifest, read_artifact, write_artifact
from state.signing import SigningKey, TrustedKeys

PICKLED = bytes(range(256)) * 4


def manifest(**changes: Any) -> Manifest:
    made = Manifest(
        model="fraud",
        lane=None,
        version="fraud@3-000102030405",
        n=3,
        head=bytes(range(32)).hex(),
        task="classification",
        origin={"class": "river.linear_model.LogisticRegression", "params": {"l2": 1e-5}},
        label_type="bool",
        names=["6:amount", "4:city=Lyon"],
        purity="names",
        environment={"python": "3.11.7"},
        sha256=sha256(PICKLED).hexdigest(),
        created=1_700_000_000_000,
    )
    return msgspec.structs.replace(made, **changes)


def rewritten(path: Path, **members: bytes) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name.replace("_", "."), content)


def test_what_was_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "fraud.rrv"
    write_artifact(path, manifest(), PICKLED)
    assert read_artifact(path) == (manifest(), PICKLED, None)
    assert [file.name for file in tmp_path.iterdir()] == ["fraud.rrv"]


def test_it_is_a_zip_archive_that_anyone_can_look_into(tmp_path: Path) -> None:
    path = tmp_path / "fraud.rrv"
    write_artifact(path, manifest(), PICKLED)
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist() == ["manifest.json", "model.pickle"]
        shown = json.loads(archive.read("manifest.json"))
        assert shown["sha256"] == sha256(archive.read("model.pickle")).hexdigest()
    assert shown["format"] == 2
    assert (shown["model"], shown["n"], shown["head"]) == ("fraud", 3, bytes(range(32)).hex())


def test_a_byte_changed_anywhere_is_found_or_changes_nothing(tmp_path: Path) -> None:
    """A zip archive has bytes that mean nothing, such as the time of a file."""
    good = tmp_path / "good.rrv"
    write_artifact(good, manifest(), PICKLED)
    data = good.read_bytes()
    path = tmp_path / "changed.rrv"
    refused = 0
    for place in range(len(data)):
        for flip in (0x01, 0xFF):
            changed = bytearray(data)
            changed[place] ^= flip
            path.write_bytes(changed)
            try:
                assert read_artifact(path) == (manifest(), PICKLED, None)
            except ArtifactError as error:
                refused += 1
                assert str(path) in str(error)
    assert refused > len(data)


def test_a_file_that_was_cut_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "fraud.rrv"
    write_artifact(path, manifest(), PICKLED)
    data = path.read_bytes()
    for length in range(len(data)):
        path.write_bytes(data[:length])
        with pytest.raises(ArtifactError):
            read_artifact(path)


def test_another_model_under_the_same_manifest_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "fraud.rrv"
    rewritten(path, manifest_json=msgspec.json.encode(manifest()), model_pickle=PICKLED + b"!")
    with pytest.raises(ArtifactError, match="was changed: its model is not the one its manifest"):
        read_artifact(path)


def test_another_format_is_refused_by_its_number(tmp_path: Path) -> None:
    path = tmp_path / "fraud.rrv"
    for future in (msgspec.json.encode(manifest(format=3)), b'{"format":3,"all":"different"}'):
        rewritten(path, manifest_json=future, model_pickle=PICKLED)
        with pytest.raises(ArtifactError, match="has format 3; this release reads up to 2"):
            read_artifact(path)


@pytest.mark.parametrize(
    "members",
    [
        {},
        {"manifest_json": b"{}"},
        {"model_pickle": PICKLED},
        {"manifest_json": b"{", "model_pickle": PICKLED},
        {"manifest_json": b'{"format":1}', "model_pickle": PICKLED},
        {"manifest_json": b"\xff", "model_pickle": PICKLED},
    ],
)
def test_an_archive_of_something_else_is_refused(tmp_path: Path, members: dict[str, bytes]) -> None:
    path = tmp_path / "other.zip"
    rewritten(path, **members)
    with pytest.raises(ArtifactError, match="is not an artifact"):
        read_artifact(path)


def test_what_is_no_archive_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="is not an artifact"):
        read_artifact(tmp_path / "missing.rrv")
    with pytest.raises(ArtifactError, match="is not an artifact"):
        read_artifact(tmp_path)
    (tmp_path / "text.rrv").write_text("hello")
    with pytest.raises(ArtifactError, match="is not an artifact"):
        read_artifact(tmp_path / "text.rrv")


def test_a_failed_write_leaves_the_file_that_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "fraud.rrv"
    write_artifact(path, manifest(), PICKLED)
    with pytest.raises(TypeError):
        write_artifact(path, manifest(n=4), None)  # type: ignore[arg-type]
    assert read_artifact(path) == (manifest(), PICKLED, None)


def test_a_file_of_a_trusted_key_is_read_under_its_id(tmp_path: Path) -> None:
    path, key = tmp_path / "fraud.rrv", SigningKey.generate()
    write_artifact(path, manifest(), PICKLED, key)
    trusted = TrustedKeys([key.public])
    assert read_artifact(path, trusted) == (manifest(), PICKLED, key.key_id)
    assert read_artifact(path.read_bytes(), trusted).key_id == key.key_id


def test_what_no_trusted_key_has_signed_is_refused(tmp_path: Path) -> None:
    path, key = tmp_path / "fraud.rrv", SigningKey.generate()
    trusted = TrustedKeys([SigningKey.generate().public])
    write_artifact(path, manifest(), PICKLED)
    with pytest.raises(ArtifactError, match="is not signed"):
        read_artifact(path, trusted)
    write_artifact(path, manifest(), PICKLED, key)
    with pytest.raises(ArtifactError, match=f"signed by {key.key_id}: no trusted key"):
        read_artifact(path, trusted)


def test_a_signature_counts_for_its_own_manifest_only(tmp_path: Path) -> None:
    path, key = tmp_path / "fraud.rrv", SigningKey.generate()
    write_artifact(path, manifest(), PICKLED, key)
    with zipfile.ZipFile(path) as archive:
        signature = archive.read("signature.json")
    other = msgspec.json.format(msgspec.json.encode(manifest(n=4)))
    rewritten(path, manifest_json=other, model_pickle=PICKLED, signature_json=signature)
    with pytest.raises(ArtifactError, match="its signature does not fit"):
        read_artifact(path, TrustedKeys([key.public]))


def test_a_file_of_format_1_is_still_read(tmp_path: Path) -> None:
    path = tmp_path / "old.rrv"
    old = json.loads(msgspec.json.encode(manifest(format=1)))
    for new in ("learned", "metrics", "first", "last"):
        del old[new]
    rewritten(path, manifest_json=json.dumps(old).encode(), model_pickle=PICKLED)
    assert read_artifact(path) == (manifest(format=1), PICKLED, None)
