"""Flink for the tests: one JVM a session, a MiniCluster a job."""

from collections.abc import Callable
from typing import Any

import pytest

from jobs import environment


@pytest.fixture(scope="session")
def flink() -> None:
    """PyFlink can be used; its JVM starts with the first use and ends with the session."""
    environment.prepare()


@pytest.fixture
def flink_env(flink: None) -> Callable[..., Any]:
    """Makes fresh environments with the connectors attached.

    `flink_env(parallelism=1, mode="thread", settings={"key": "value"})`: Flink's own settings by
    their names.
    """
    from pyflink.datastream import StreamExecutionEnvironment

    from connectors import java_code

    def make(
        *, parallelism: int = 1, mode: str = "thread", settings: dict[str, str] | None = None
    ) -> StreamExecutionEnvironment:
        configuration = environment.local_configuration()
        for key, value in {"python.execution-mode": mode, **(settings or {})}.items():
            configuration.set_string(key, value)
        env = StreamExecutionEnvironment.get_execution_environment(configuration)
        env.set_parallelism(parallelism)
        java_code.attach(env)
        return env

    return make
