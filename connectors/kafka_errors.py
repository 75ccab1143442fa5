"""What Kafka says no to."""


class KafkaError(Exception):
    """Kafka refuses, or does not answer; the text says what, in a line."""


class NotAllowed(KafkaError):
    """This user may not ask for that."""
