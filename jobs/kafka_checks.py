"""Before a job starts on Kafka: is everything there that it needs, and will nothing be lost?"""

import socket
import sys
from collections.abc import Callable, Container, Iterator
from typing import TYPE_CHECKING, NamedTuple

from connectors.jars import MissingJars
from connectors.kafka_errors import KafkaError, NotAllowed
from jobs import environment, kafka_clients
from jobs.config import Config
from jobs.durations import format_duration
from jobs.errors import Failure
from jobs.settings import KafkaInput, KafkaSink

if TYPE_CHECKING:
    from connectors.kafka_admin import Admin

_TIMEOUT = "transaction.timeout.ms"
_LONGEST_TIMEOUT = "transaction.max.timeout.ms"
# Whoever audits later needs every record of them, so nothing may expire or be compacted away.
_KEPT = frozenset({"features", "labels", "control", "learn_log", "versions"})
# What an audit reads of them; predictions that are gone need none.
_AUDITED = frozenset({"features", "learn_log"})
# In published mode: what one part writes and the other reads, in order.
_ORDERED = frozenset({"learn_queue", "versions"})
# Of published versions only the newest are of use; small segments, for Kafka compacts none that is
# written to, and who starts reads all that is there.
_COMPACTED = {
    "cleanup.policy": "compact",
    "min.cleanable.dirty.ratio": "0.1",
    "segment.bytes": str(64 << 20),
    "segment.ms": "600000",
}


# How long a broker may take to answer whom nothing depends on.
_ANSWER_S = 1.0


class Use(NamedTuple):
    """One section of the configuration that needs Kafka."""

    section: str
    connection: KafkaInput | KafkaSink

    @property
    def topics(self) -> list[str]:
        if isinstance(self.connection, KafkaInput):
            return kafka_clients.topics(self.connection)
        return [kafka_clients.topic(self.connection)]


class Made(NamedTuple):
    """What `create_topics` did for a topic: it was made, or was there; and what is wrong with it."""

    topic: str
    created: bool
    problem: str | None


def to_stderr(warning: str) -> None:
    print(f"warning: {warning}", file=sys.stderr)


def require_ready(config: Config, warn: Callable[[str], None] = to_stderr) -> None:
    """Ask the brokers that a configuration names, if any, whether the job can start.

    Parameters
    ----------
    warn
        Told what is allowed and may lose something.

    Raises
    ------
    Failure
        Kafka does not answer or refuses this user, topics are missing, or transactions would be
        longer than the broker allows; the text has a line for each problem.
    """
    problems: list[str] = []
    for admin, uses in _connections(config, problems):
        known = admin.topics()
        for use in uses:
            problems += _missing(use, known)
            if config.job.mode == "published" and use.section in _ORDERED:
                problems += _partitions(admin, use, known)
            if isinstance(use.connection, KafkaInput):
                _warn_of_pattern(use.section, use.connection, known, warn)
            elif use.connection.delivery == "exactly_once":
                problems += _timeout(admin, config, use.section, use.connection, warn)
    if problems:
        raise Failure("\n".join(problems))


def create_topics(
    config: Config,
    *,
    partitions: int | None = None,
    replication: int | None = None,
    retention_ms: int | None = None,
) -> Iterator[Made]:
    """Make every topic that the configuration names and Kafka has not.

    Features, labels, control, learn log and versions are kept for ever and never compacted; of the
    others the broker decides. In published mode versions are compacted, and what one part writes for
    the other has one partition.

    Parameters
    ----------
    partitions, replication
        None for the broker's default.
    retention_ms
        How long all of them are kept instead.

    Raises
    ------
    Failure
        Kafka does not answer, or refuses.
    """
    problems: list[str] = []
    for admin, uses in _connections(config, problems):
        known = admin.topics()
        sections = {name: use.section for use in uses for name in use.topics}
        for name, section in sections.items():
            own = config.job.mode == "published" and section in _ORDERED
            compacted = own and section == "versions"
            for_ever = section in _KEPT
            if name in known:
                unsafe = _not_compacted if compacted else _unsafe
                yield Made(name, False, unsafe(admin, name) if for_ever else None)
                continue
            configs = {"cleanup.policy": "delete"}
            if compacted:
                configs = dict(_COMPACTED)
            elif retention_ms is not None:
                configs["retention.ms"] = str(retention_ms)
            elif for_ever:
                configs["retention.ms"] = "-1"
            count = 1 if own else partitions
            try:
                admin.create(name, configs, partitions=count, replication=replication)
            except KafkaError as error:
                problems.append(f"topic {name} cannot be made: {error}")
                continue
            yield Made(name, True, None)
    if problems:
        raise Failure("\n".join(problems))


def kept_too_briefly(config: Config) -> Iterator[str]:
    """What an audit would miss one day: features or entries of the learn log that their topics let go.

    Brokers at which nobody answers are not waited for.
    """
    if not (config.predictions and config.learn_log):
        return
    problems: list[str] = []
    try:
        for admin, uses in _connections(config, problems, only=_AUDITED, waiting=False):
            known = admin.topics()
            for use in uses:
                for name in use.topics:
                    unsafe = _unsafe(admin, name) if name in known else None
                    if unsafe is not None:
                        yield f"[{use.section}] topic {name}: {unsafe}; audits need all of them"
    except (Failure, KafkaError) as error:
        problems.append(str(error))
    for problem in problems:
        yield f"{problem}; how long records are kept was not looked at"


def _answers(servers: str) -> bool:
    """Whether anybody takes a connection at one of these servers."""
    for server in servers.split(","):
        host, _, port = server.strip().rpartition(":")
        try:
            socket.create_connection((host, int(port)), timeout=_ANSWER_S).close()
        except OSError:
            continue
        return True
    return False


def _connections(
    config: Config,
    problems: list[str],
    *,
    only: Container[str] | None = None,
    waiting: bool = True,
) -> Iterator[tuple["Admin", list[Use]]]:
    """A connection for each user and cluster that the configuration has, and what needs it.

    Parameters
    ----------
    only
        Sections that are of interest; None: all.
    waiting
        For brokers at which nobody answers.
    """
    groups: dict[tuple[str, tuple[tuple[str, str], ...]], list[Use]] = {}
    named: list[tuple[str, KafkaInput | KafkaSink]] = [
        *kafka_clients.inputs(config),
        *kafka_clients.sinks(config),
    ]
    for section, connection in named:
        if only is not None and section not in only:
            continue
        properties = tuple(sorted(kafka_clients.properties(connection).items()))
        key = kafka_clients.servers(connection), properties
        groups.setdefault(key, []).append(Use(section, connection))
    if not groups:
        return
    environment.prepare()
    # Only now: importing PyFlink fixes where it looks for Flink.
    from connectors.kafka_admin import Admin

    for (servers, properties), uses in groups.items():
        if not waiting and not _answers(servers):
            problems.append(f"[{uses[0].section}]: nobody answers at {servers}")
            continue
        try:
            with Admin(servers, dict(properties)) as admin:
                yield admin, uses
        except MissingJars as error:
            raise Failure(f"the Kafka connector is missing: {error}") from None
        except KafkaError as error:
            sections = ", ".join(
                f"[{section}]" for section in dict.fromkeys(u.section for u in uses)
            )
            problems.append(f"{sections}: {error}")


def _missing(use: Use, known: set[str]) -> Iterator[str]:
    for name in use.topics:
        if name not in known:
            yield (
                f"[{use.section}] there is no topic {name!r} (or this user may not see it): "
                "`riverrun topics create` makes what a configuration names"
            )


def _partitions(admin: "Admin", use: Use, known: set[str]) -> Iterator[str]:
    """Between partitions there is no order."""
    for name in use.topics:
        count = len(admin.partitions([name])) if name in known else 1
        if count != 1:
            yield (
                f"[{use.section}] topic {name!r} has {count} partitions; one is expected, for its "
                "records are read in order"
            )


def _warn_of_pattern(
    section: str, source: KafkaInput, known: set[str], warn: Callable[[str], None]
) -> None:
    from pyflink.java_gateway import get_gateway

    pattern = kafka_clients.pattern(source)
    if pattern is None:
        return
    matches = get_gateway().jvm.java.util.regex.Pattern.matches
    if not any(matches(pattern, name) for name in known):
        warn(f"[{section}] no topic matches {pattern!r} yet; one that comes will be read")


def _timeout(
    admin: "Admin", config: Config, section: str, sink: KafkaSink, warn: Callable[[str], None]
) -> Iterator[str]:
    wanted = kafka_clients.sink_properties(config, section, sink)[_TIMEOUT]
    if not wanted.isdigit():
        yield f"[{section}] properties.{_TIMEOUT!r} is no number of milliseconds"
        return
    if int(wanted) < config.job.max_outage_ms:
        warn(
            f"[{section}] {_TIMEOUT} is {format_duration(int(wanted))}, less than max_outage "
            f"({format_duration(config.job.max_outage_ms)}): after an outage longer than that, "
            "predictions that were not committed are lost"
        )
    try:
        longest = admin.broker_config(_LONGEST_TIMEOUT)
    except NotAllowed:
        warn(f"[{section}] this user may not ask for the broker's {_LONGEST_TIMEOUT}")
        return
    if longest is not None and int(wanted) > int(longest):
        yield (
            f"[{section}] transactions may last {format_duration(int(wanted))} "
            f"([job] max_outage, or {_TIMEOUT}), and the broker allows "
            f"{format_duration(int(longest))}: lower the one, or raise {_LONGEST_TIMEOUT} there"
        )


def _not_compacted(admin: "Admin", name: str) -> str | None:
    """What of the settings of published versions would lose the newest one."""
    try:
        found = admin.topic_configs([name])[name]
    except NotAllowed:
        return "this user may not ask how long it is kept"
    if "delete" in found["cleanup.policy"]:
        return 'cleanup.policy is not "compact": a version that no other follows will be deleted'
    return None


def _unsafe(admin: "Admin", name: str) -> str | None:
    """What of a topic's settings would lose records that must be kept."""
    try:
        found = admin.topic_configs([name])[name]
    except NotAllowed:
        return "this user may not ask how long it is kept"
    if "compact" in found["cleanup.policy"]:
        return "it is compacted: records will go missing"
    if found["retention.ms"] != "-1":
        return f"its records are deleted after {format_duration(int(found['retention.ms']))}"
    return None
