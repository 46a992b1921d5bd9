"""Words for pictures: made harmless to look at, cut to a bound, measured, and escaped for each language.

Names come from users and may hold anything. `visible` comes first in every renderer: it leaves no character
that would break a line, turn the direction of the text, or cannot be encoded; what follows is then only a
matter of each language's own quoting.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

_DIRECTIONS: Final = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_HIDDEN: Final = frozenset({"Cc", "Cs", "Zl", "Zp"})

# Mermaid knows entities as `#number;` and decodes them after it has parsed its own syntax and Markdown, so
# all that could mean something to either goes that way. What stays: letters, and between two of them the
# signs that names are made of.
_MERMAID_UNSAFE: Final = re.compile(r"(?<=[^\W_])(?:, ?|[ _-])(?=[^\W_])|([\x20-\x2f\x3a-\x40\x5b-\x60\x7b-\x7e])")


def visible(text: str) -> str:
    """``text`` on one line: control characters, line ends, direction marks as backslash escapes."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(_escape(c) if _is_hidden(c) else c for c in text)


def _is_hidden(char: str) -> bool:
    return (
        char in _DIRECTIONS
        or unicodedata.category(char) in _HIDDEN
        or ord(char) & 0xFFFE == 0xFFFE  # not characters at all, and not allowed in XML
    )


def _escape(char: str) -> str:
    return char.encode("unicode_escape").decode("ascii")


def cut(text: str, cells: int) -> str:
    """``text`` in at most so many `width` cells, with an ellipsis where something was cut off."""
    if width(text) <= cells:
        return text
    taken, kept = 1, []
    for char in text:
        taken += width(char)
        if taken > cells:
            break
        kept.append(char)
    return "".join(kept) + "…"


def width(text: str) -> int:
    """The cells that ``text`` takes in a fixed-width font: 2 for wide characters, 0 for combining ones."""
    if text.isascii():
        return len(text)
    return sum(_cells(c) for c in text)


def _cells(char: str) -> int:
    if unicodedata.category(char) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def xml(text: str) -> str:
    """``text``, made visible, as XML character data or in an attribute."""
    return _entities(visible(text))


def xml_exact(text: str) -> str:
    """``text`` in an XML attribute, to be read back as it was (but for what XML cannot hold)."""
    exact = "".join(c if c in "\t\n\r" or not _xml_forbids(c) else "\ufffd" for c in text)
    return _entities(exact).replace("\t", "&#9;").replace("\n", "&#10;").replace("\r", "&#13;")


def _xml_forbids(char: str) -> bool:
    return char < " " or 0xD800 <= ord(char) <= 0xDFFF or char in "\ufffe\uffff"


def _entities(text: str) -> str:
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return text.replace('"', "&quot;").replace("'", "&#39;")


def dot(text: str) -> str:
    """``text``, made visible, inside a quoted DOT string, where backslashes and entities mean something."""
    return visible(text).replace("&", "&amp;").replace("\\", "\\\\").replace('"', '\\"')


def mermaid(text: str) -> str:
    """``text``, made visible, inside a quoted Mermaid label."""
    return _MERMAID_UNSAFE.sub(lambda m: f"#{ord(m[1])};" if m[1] else m[0], visible(text))
