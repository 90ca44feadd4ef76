"""How serious a log line says it is: a guess from its text, for colours and filters. Pure.

Knows what programs commonly print: Python's logging, klog and glog, logfmt, one JSON object a line, log4j and syslog
style words near the head. A line without any of these has no severity; guessing from words such as "error" in the
middle of a sentence would be wrong too often.
"""

from __future__ import annotations

import re
from typing import Literal, TypeAlias

__all__ = ["Severity", "severity_of"]

Severity: TypeAlias = Literal["debug", "info", "warning", "error", "critical"]

_HEAD = 160
"""Characters looked at: time, thread and logger name come before the word, the message after it."""
_WORDS: dict[str, Severity] = {
    "trace": "debug",
    "debug": "debug",
    "notice": "info",
    "info": "info",
    "warn": "warning",
    "warning": "warning",
    "err": "error",
    "error": "error",
    "severe": "error",
    "crit": "critical",
    "critical": "critical",
    "fatal": "critical",
    "panic": "critical",
    "alert": "critical",
    "emerg": "critical",
    "emergency": "critical",
}
_KLOG: dict[str, Severity] = {"D": "debug", "I": "info", "W": "warning", "E": "error", "F": "critical"}
_ALL = "|".join(sorted(_WORDS, key=len, reverse=True))
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_KLOG_HEAD = re.compile(r"([DIWEF])\d{4} \d\d:\d\d:\d\d")
_FIELD = re.compile(rf'"?(?:level|severity|lvl|levelname|log\.level)"?\s*[=:]\s*"?({_ALL})\b', re.IGNORECASE)
_UPPER = re.compile(rf"(?<![\w./-])(?:\[\s*)?({_ALL.upper()})(?![\w/-])")
_LOWER_HEAD = re.compile(rf"\[?({_ALL})(?:\]|:)\s", re.IGNORECASE)
_TRACEBACK = ("Traceback (most recent call last)", 'Exception in thread "')


def severity_of(text: str) -> Severity | None:
    """The severity a line states, or None."""
    head = text[:_HEAD]
    if "\x1b" in head:
        head = _COLOUR.sub("", head)
    if head.startswith(_TRACEBACK):
        return "error"
    klog = _KLOG_HEAD.match(head)
    if klog is not None:
        return _KLOG[klog[1]]
    found = _FIELD.search(text[:1000] if head.startswith("{") else head)
    if found is None:
        found = _LOWER_HEAD.match(head) or _UPPER.search(head)
    return _WORDS[found[1].lower()] if found is not None else None
