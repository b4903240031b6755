"""Text from outside made fit to show: a caller's name, a hook's words.

What is taken out can forge a line of a log, a SIP header or a terminal, or turn the reading direction round so that
a name reads as another one: C0 and C1 controls, line separators, bidirectional marks and isolates, invisible format
characters, lone surrogates (what SIP sent that is not UTF-8). Zero-width joiners stay: Persian and emoji need them.
"""

from __future__ import annotations

import re

_BREAKS = r"\t\n\v\f\r\x85\u2028\u2029"
_UNSEEN = (
    r"\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff0-\ufffb\ufffe\uffff"
    r"\ud800-\udfff\U000e0000-\U000e0fff"
)
_breaks = re.compile(f"[{_BREAKS}]+")
_unseen = re.compile(f"[{_UNSEEN}]+")
_spaces = re.compile(r"[ \xa0\u3000]{2,}")
_suspect = re.compile(f"[{_UNSEEN}]|^[ \\xa0\\u3000]|[ \\xa0\\u3000]$|[ \\xa0\\u3000]{{2}}")


def one_line(text: str) -> str:
    """A single line without controls; line breaks and tabs become a space."""
    if _suspect.search(text) is None:
        return text
    return _spaces.sub(" ", _unseen.sub("", _breaks.sub(" ", text))).strip()


def paragraphs(text: str) -> str:
    """Several lines without controls; line feeds and tabs are kept, other line breaks become line feeds."""
    if _suspect.search(text) is None:
        return text
    text = re.sub("\r\n?|[\v\f\x85\u2028\u2029]", "\n", text)
    return "".join(part if part in "\n\t" else _unseen.sub("", part) for part in re.split("([\n\t])", text)).strip()
