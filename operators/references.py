"""`${NAME}` in a text: an environment variable, filled in where the text is used."""

import os
import re
from collections.abc import Mapping
from typing import Final

REFERENCE: Final = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


def references(text: str) -> list[str]:
    """Names of the environment variables that a text asks for.

    >>> references("${USER}:${PASSWORD}@$HOME")
    ['USER', 'PASSWORD']
    """
    return REFERENCE.findall(text)


def resolve(text: str, environ: Mapping[str, str] = os.environ) -> str:
    """The text with environment variables filled in.

    Raises
    ------
    KeyError
        With the name of a variable that is not set.
    """
    return REFERENCE.sub(lambda reference: environ[reference[1]], text)
