"""Reading API times. Pure."""

from __future__ import annotations

from datetime import datetime

__all__ = ["parse_time"]


def parse_time(text: str) -> float:
    """Seconds since the epoch of a metav1.Time or MicroTime."""
    return datetime.fromisoformat(text).timestamp()
