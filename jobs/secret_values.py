"""`${NAME}` in the configuration: filled in where it is used, never shown."""

import os
import re
from collections.abc import Mapping
from typing import Any, Final

_REFERENCE: Final = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_SECRET_NAME: Final = re.compile(r"password|secret|jaas|key|token", re.IGNORECASE)

MASK: Final = "***"


def references(text: str) -> list[str]:
    """Names of the environment variables that a text asks for.

    >>> references("${USER}:${PASSWORD}@$HOME")
    ['USER', 'PASSWORD']
    """
    return _REFERENCE.findall(text)


def resolve(text: str, environ: Mapping[str, str] = os.environ) -> str:
    """The text with environment variables filled in.

    Raises
    ------
    KeyError
        With the name of a variable that is not set.
    """
    return _REFERENCE.sub(lambda reference: environ[reference[1]], text)


def for_client(text: str) -> str:
    """The text with variables as references that Kafka's client fills in by itself, where it runs.

    >>> for_client("user=${USER} password=${file:/run/secrets/kafka.properties:password}")
    'user=${env:USER} password=${file:/run/secrets/kafka.properties:password}'
    """
    return _REFERENCE.sub(r"${env:\1}", text)


def mask(text: str) -> str:
    """The text with every variable hidden.

    >>> mask("user=${USER}")
    'user=***'
    """
    return _REFERENCE.sub(MASK, text)


def mask_properties(properties: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a client with every variable hidden, and all that a secret name names.

    >>> mask_properties({"sasl.jaas.config": "user=bob password=x", "client.id": "fraud"})
    {'sasl.jaas.config': '***', 'client.id': 'fraud'}
    """
    return {
        name: MASK if is_secret(name) else mask(value) if isinstance(value, str) else value
        for name, value in properties.items()
    }


def is_secret(name: str) -> bool:
    """Whether what stands under this name must not be shown.

    >>> is_secret("sasl.jaas.config"), is_secret("security.protocol")
    (True, False)
    """
    return _SECRET_NAME.search(name) is not None
