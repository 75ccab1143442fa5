"""`${NAME}` in the configuration: filled in where it is used, never shown."""

import re
from collections.abc import Mapping
from typing import Any, Final

from operators.references import REFERENCE, references, resolve

__all__ = [
    "MASK",
    "for_client",
    "is_secret",
    "mask",
    "mask_headers",
    "mask_properties",
    "references",
    "resolve",
]

_SECRET_NAME: Final = re.compile(r"password|secret|jaas|key|token", re.IGNORECASE)

MASK: Final = "***"


def for_client(text: str) -> str:
    """The text with variables as references that Kafka's client fills in by itself, where it runs.

    >>> for_client("user=${USER} password=${file:/run/secrets/kafka.properties:password}")
    'user=${env:USER} password=${file:/run/secrets/kafka.properties:password}'
    """
    return REFERENCE.sub(r"${env:\1}", text)


def mask(text: str) -> str:
    """The text with every variable hidden.

    >>> mask("user=${USER}")
    'user=***'
    """
    return REFERENCE.sub(MASK, text)


def mask_properties(properties: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a client with every variable hidden, and all that a secret name names.

    >>> mask_properties({"sasl.jaas.config": "user=bob password=x", "client.id": "fraud"})
    {'sasl.jaas.config': '***', 'client.id': 'fraud'}
    """
    return {
        name: MASK if is_secret(name) else mask(value) if isinstance(value, str) else value
        for name, value in properties.items()
    }


def mask_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Headers of a request without their values: any of them may be a secret, whatever its name.

    >>> mask_headers({"Authorization": "Bearer x"})
    {'Authorization': '***'}
    """
    return dict.fromkeys(headers, MASK)


def is_secret(name: str) -> bool:
    """Whether what stands under this name must not be shown.

    >>> is_secret("sasl.jaas.config"), is_secret("security.protocol")
    (True, False)
    """
    return _SECRET_NAME.search(name) is not None
