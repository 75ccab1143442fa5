"""Where made things are kept."""

import sys
from pathlib import Path

import pytest

from connectors.cache import cache_folder


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """A virtual environment and a user's cache, both still empty."""
    environment, user = tmp_path / "venv", tmp_path / "user"
    monkeypatch.setattr(sys, "prefix", str(environment))
    monkeypatch.setenv("XDG_CACHE_HOME", str(user))
    return environment, user


def block(folder: Path) -> None:
    """A file where a folder would have to be: not even root can write there."""
    folder.touch()


def test_a_virtual_environment_keeps_what_is_made_for_it(places: tuple[Path, Path]) -> None:
    environment, user = places
    assert cache_folder() == environment / "var" / "riverrun"
    assert cache_folder().is_dir()
    assert not user.exists()


def test_where_the_environment_cannot_be_written_the_user_keeps_it(
    places: tuple[Path, Path],
) -> None:
    environment, user = places
    block(environment)
    assert cache_folder() == user / "riverrun"


def test_nothing_is_written_into_the_system_python(
    places: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    environment, user = places
    monkeypatch.setattr(sys, "base_prefix", str(environment))
    assert cache_folder() == user / "riverrun"
    assert not environment.exists()


def test_without_XDG_CACHE_HOME_the_users_cache_is_in_the_home_folder(
    places: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    block(places[0])
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache_folder() == tmp_path / "home" / ".cache" / "riverrun"


def test_if_nothing_can_be_written_the_error_says_what_to_set(places: tuple[Path, Path]) -> None:
    for place in places:
        block(place)
    with pytest.raises(OSError, match=f"cannot write {places[0]}.* nor .*set XDG_CACHE_HOME"):
        cache_folder()
