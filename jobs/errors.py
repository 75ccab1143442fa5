"""What a command reports instead of a traceback."""


class Failure(Exception):
    """Something that a user can act on: the text says what, where and what to do; exit code 1."""
