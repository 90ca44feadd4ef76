"""kube-scheduler's sentences: why a pod fits nowhere.

Source: pkg/scheduler/framework/types.go (FitError), pkg/scheduler/framework/runtime (RunPostFilterPlugins),
pkg/scheduler/schedule_one.go.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

__all__ = ["NO_NODES", "PREEMPTION_NOT_HELPFUL", "fit_error", "post_filter_message", "truncate_note"]

NO_NODES = "no nodes available to schedule pods"
PREEMPTION_NOT_HELPFUL = "Preemption is not helpful for scheduling"
_NO_CLAIMS = "no new claims to deallocate"
"""The word of the DynamicResources plugin, which runs before preemption for every pod."""
_NOT_RUN = "not found"
"""What the same plugin says when a pre-filter ended the attempt before its own state was written."""
_NOTE_LIMIT = 1024
"""Longest note of an Event (events.k8s.io/v1)."""


def fit_error(
    nodes: int, reasons: Iterable[Sequence[str]] = (), *, pre_filter: str = "", post_filter: str = ""
) -> str:
    """The FitError text: reasons holds each rejecting node's reasons; pre_filter replaces them all."""
    text = f"0/{nodes} nodes are available:"
    if pre_filter:
        text += f" {pre_filter}."
    else:
        counted = Counter(reason for node in reasons for reason in node)
        listed = sorted(f"{count} {reason}" for reason, count in counted.items())
        if listed:
            text += f" {', '.join(listed)}."
    if post_filter:
        text += f" {post_filter}"
    return text


def post_filter_message(preemption: str | None) -> str:
    """What follows the reasons: preemption is its own text, or None when filters never ran."""
    return _NOT_RUN if preemption is None else f"{_NO_CLAIMS}, preemption: {preemption}"


def truncate_note(text: str) -> str:
    """Cut a message to the length an Event may have."""
    suffix = " ..."
    return text if len(text) <= _NOTE_LIMIT else text[: _NOTE_LIMIT - len(suffix)] + suffix
