"""HTML in which whatever is text stays text: only what is made here is markup."""

import re
from html import escape

# HTML has no such characters, not even escaped; and nobody sees them.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")


class Html(str):
    """Markup; any other string is text and is escaped where it is put into an element."""

    __slots__ = ()


_VOID = frozenset({"meta", "br", "col"})


def tag(element: str, /, *children: str | None, **attributes: str | None) -> Html:
    """An element; attributes and children of None are left out, `_` in names of attributes becomes `-`.

    Parameters
    ----------
    attributes
        `class_` is `class`; `name_` is `name`.

    Examples
    --------
    >>> tag("p", "1 < 2", tag("b", "bold"), class_="note")
    '<p class="note">1 &lt; 2<b>bold</b></p>'
    """
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    if element in _VOID:
        return Html(f"<{element}{written}>")
    return Html(f"<{element}{written}>{joined(*children)}</{element}>")


def joined(*children: str | None) -> Html:
    """Elements and texts one behind the other."""
    return Html("".join(_escaped(child) for child in children if child is not None))


def _escaped(child: str) -> str:
    return (
        child
        if isinstance(child, Html)
        else escape(_CONTROL.sub("\N{REPLACEMENT CHARACTER}", child))
    )
