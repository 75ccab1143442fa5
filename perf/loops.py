"""What the job is compared with on Kafka: loops that do the same work, without Flink.

    .venv/bin/python -m perf.loops kafka-python SERVERS IN OUT MODEL

Each reads features and labels from one topic, keeps features by id, asks the model and writes the
prediction, learns from the label. None remembers anything beyond its process, save quixstreams the
features. They run until they are killed.
"""

import sys
import time
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from perf.workloads import KAFKA_MODELS


class Event(Struct):
    """A record of the input."""

    id: str
    features: dict[str, Any] | None = None
    label: Any = None


class Said(Struct):
    """A record of the output."""

    id: str
    prediction: Any
    probabilities: dict[str, float]
    predicted_at: int


class Calls(Struct):
    """How long the model's calls take: means, in microseconds."""

    predict_us: float
    learn_us: float


CALLS = "calls.json"
# After so many predictions the loop writes there how long calls take.
_TOLD_EACH = 100


_read = msgspec.json.Decoder(Event).decode
_write = msgspec.json.Encoder().encode


class Work:
    """What is done with a record, whichever client brought it."""

    def __init__(self, model: str) -> None:
        self._model = KAFKA_MODELS[model]()
        self._features: dict[str, dict[str, Any]] = {}
        self._predictions = self._examples = 0
        self._predicting_ns = self._learning_ns = 0

    def record(self, raw: bytes) -> tuple[bytes, bytes] | None:
        """Key and value of a prediction, if one is due."""
        event = _read(raw)
        if event.features is None:
            self.learn(self._features.pop(event.id), event.label)
            return None
        self._features[event.id] = event.features
        return event.id.encode(), _write(self.predict(event.id, event.features))

    def predict(self, id: str, features: dict[str, Any]) -> Said:
        begun = time.perf_counter_ns()
        said = self._model.predict_proba_one(features)
        answer = max(said, key=said.get) if said else None
        self._predicting_ns += time.perf_counter_ns() - begun
        self._predictions += 1
        if self._predictions % _TOLD_EACH == 0:
            self._tell()
        # JSON's names for labels, as the job writes them.
        shown = {("true" if label else "false"): p for label, p in said.items()}
        return Said(id, answer, shown, time.time_ns() // 1_000_000)

    def learn(self, features: dict[str, Any], label: Any) -> None:
        begun = time.perf_counter_ns()
        self._model.learn_one(features, label)
        self._learning_ns += time.perf_counter_ns() - begun
        self._examples += 1

    def _tell(self) -> None:
        predict_us = self._predicting_ns / self._predictions / 1000
        learn_us = self._learning_ns / max(self._examples, 1) / 1000
        # Whole or not at all, whenever it is read.
        written = Path(CALLS + ".part")
        written.write_bytes(_write(Calls(predict_us, learn_us)))
        written.replace(CALLS)


def kafka_python(servers: str, source: str, target: str, model: str) -> None:
    from kafka import KafkaConsumer, KafkaProducer

    work = Work(model)
    consumer = KafkaConsumer(
        source, bootstrap_servers=servers, group_id=target, auto_offset_reset="earliest"
    )
    producer = KafkaProducer(bootstrap_servers=servers, linger_ms=0)
    for message in consumer:
        if (made := work.record(message.value)) is not None:
            producer.send(target, key=made[0], value=made[1])


def confluent_kafka(servers: str, source: str, target: str, model: str) -> None:
    from confluent_kafka import Consumer, Producer

    work = Work(model)
    consumer = Consumer(
        {"bootstrap.servers": servers, "group.id": target, "auto.offset.reset": "earliest"}
    )
    consumer.subscribe([source])
    producer = Producer({"bootstrap.servers": servers, "linger.ms": 0})
    while True:
        message = consumer.poll(1.0)
        if message is None or message.error():
            continue
        if (made := work.record(message.value())) is not None:
            while True:
                try:
                    producer.produce(target, key=made[0], value=made[1])
                    break
                except BufferError:
                    producer.poll(0.01)
            producer.poll(0)


def quixstreams(servers: str, source: str, target: str, model: str) -> None:
    """Exactly once, checkpoints each second; features by id in its RocksDB."""
    from quixstreams import Application

    work = Work(model)
    app = Application(
        broker_address=servers,
        consumer_group=target,
        auto_offset_reset="earliest",
        processing_guarantee="exactly-once",
        commit_interval=1.0,
        loglevel="WARNING",
        producer_extra_config={"linger.ms": 0},
        consumer_extra_config={"isolation.level": "read_uncommitted"},
    )
    incoming = app.topic(source, value_deserializer="json")
    outgoing = app.topic(target, value_serializer="bytes")

    def step(event: dict[str, Any], state: Any) -> bytes | None:
        features = event.get("features")
        if features is None:
            work.learn(state.get("features"), event["label"])
            state.delete("features")
            return None
        state.set("features", features)
        return _write(work.predict(event["id"], features))

    frame = app.dataframe(incoming)
    frame = frame.apply(step, stateful=True).filter(lambda made: made is not None)
    # Otherwise a record that is written has the time of the one that was read.
    frame = frame.set_timestamp(lambda value, key, timestamp, headers: int(time.time() * 1000))
    frame.to_topic(outgoing)
    app.run()


LOOPS = {
    "kafka-python": kafka_python,
    "confluent-kafka": confluent_kafka,
    "quixstreams": quixstreams,
}


if __name__ == "__main__":
    LOOPS[sys.argv[1]](*sys.argv[2:])
