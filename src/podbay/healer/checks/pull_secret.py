"""A registry login near its end: soon no pod can pull with it. Pure; reported, for only who may mint it can renew it.

`podbay registry refresh` renews when half of a login's life is over, so one with less than a quarter left is not renewed by
anybody. Of a login whose beginning is not known, the last hour counts as near.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from podbay.healer.facts import Finding
from podbay.healer.rules import Rules
from podbay.lifecycle.view import parse_time
from podbay.objects.meta import Object, annotations_of, labels_of, metadata_of, name_of
from podbay.pods.identity import DEPLOYMENT_LABEL, safe_label_value
from podbay.registries.pull_secrets import EXPIRES_ANNOTATION, LABEL, RENEWED_ANNOTATION

__all__ = ["check_pull_secret"]

_NEAR: Final = timedelta(hours=1)


def check_pull_secret(secret: Object, *, now: datetime, rules: Rules) -> Finding | None:
    """now: the API server's clock; the stamps are of whoever renewed it, and hours apart."""
    labels, notes = labels_of(secret), annotations_of(secret)
    if labels.get(LABEL) != "true" or metadata_of(secret).get("deletionTimestamp"):
        return None
    if labels.get(DEPLOYMENT_LABEL) not in (None, safe_label_value(rules.deployment)):
        return None
    ends, begun = parse_time(notes.get(EXPIRES_ANNOTATION)), parse_time(notes.get(RENEWED_ANNOTATION))
    if ends is None or ends.tzinfo is None:
        return None
    whole = ends - begun if begun is not None and begun.tzinfo is not None and begun < ends else None
    left = ends - now
    if left > (whole / 4 if whole is not None else _NEAR):
        return None
    minutes = int(left.total_seconds() // 60)
    when = f"ends in {minutes} min" if minutes >= 0 else f"ended {-minutes} min ago"
    return Finding(
        check="PullSecretEnding",
        deed="report",
        message=f"the registry login in it {when}, and nobody has renewed it; pods will not be able to pull. "
        f"Renew it: podbay registry refresh {name_of(secret)}",
        age=0.0,
        grace=0.0,
    )
