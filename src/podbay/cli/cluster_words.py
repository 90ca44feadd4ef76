"""What a cluster's refusal or silence means to the person at the command line: the diagnosis' words, whose, and where."""

from __future__ import annotations

import re
from pathlib import Path

from podbay.errors import ApiError, PodbayError, UnreachableError
from podbay.kube.config import ClusterConfig
from podbay.lifecycle.diagnosis.admission_rules import FORBIDDEN, UNAUTHORIZED
from podbay.lifecycle.diagnosis.diagnose import diagnose
from podbay.lifecycle.diagnosis.model import Facts

__all__ = ["in_words", "origin"]

_REFUSES = "refuses the credentials"
_RIGHT = re.compile(r'User "[^"]+" cannot \S+ resource "')
"""Other refusals (quota, policies, escalation) say themselves what is wrong."""


def in_words(err: PodbayError, config: ClusterConfig | None = None) -> PodbayError:
    """The error with cause, fix and cluster in its message; itself when it is told already or about something else.

    Codes and kinds stay, so that callers can go on asking for them.
    """
    if isinstance(err, ApiError):
        text = _refusal(err, config)
        return err if text is None else ApiError(err.code, err.reason, text, details=err.details)
    if isinstance(err, UnreachableError):
        found = diagnose(Facts(error=err))
        if found is None or found.fix in str(err):
            return err
        where = f" ({origin(config)})" if config is not None else ""
        text = f"{str(err).rstrip('.')}{where}. {found.fix}"
        return UnreachableError(err.kind, text, maybe_sent=err.maybe_sent, permanent=err.permanent)
    return err


def _refusal(err: ApiError, config: ClusterConfig | None) -> str | None:
    if err.code == 401 and _REFUSES not in err.message:
        where = "the cluster" if config is None else f"{config.server} ({origin(config)})"
        return f"{where} {_REFUSES}. {UNAUTHORIZED.fix}"
    found = diagnose(Facts(error=err)) if err.code == 403 and _RIGHT.search(err.message) else None
    if found is None or found.category != FORBIDDEN.word:
        return None
    return f"{found.sentence()} What is missing in all: podbay doctor{_cluster_option(config)}"


def origin(config: ClusterConfig) -> str:
    """Whose credentials are used, as far as a person can look them up."""
    return f"context {config.context} of {config.origin}" if config.context else config.origin


def _cluster_option(config: ClusterConfig | None) -> str:
    if config is None:
        return ""
    word = config.origin if Path(config.origin).is_file() else config.context
    return f" --cluster {word}" if word else ""
