import pytest

from tests.prometheus import debian


@pytest.fixture(scope="session", autouse=True)
def _installed() -> None:
    try:
        debian.program("prometheus")
    except debian.CannotInstall as error:
        pytest.skip(f"Prometheus cannot be installed here: {error}")
