"""The annotation in which client-side `kubectl apply` keeps its last configuration, as server-side apply treats it.

Source: k8s.io/apimachinery/pkg/util/managedfields/internal (lastapplied*.go). Only the manager named "kubectl" gets
any of this.
"""

from __future__ import annotations

from typing import Any

import orjson

from podbay.apiserver.patch.fieldset import FieldSet, difference
from podbay.apiserver.patch.govalues import go_json
from podbay.apiserver.patch.shapes import Shape
from podbay.apiserver.patch.typed import changes, field_set_of
from podbay.apiserver.patch.typed_check import misfits
from podbay.objects.meta import Object, annotations_of

__all__ = ["LAST_APPLIED", "allowed_conflicts", "refreshed"]

LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
_ANNOTATIONS_LIMIT = 256 * 1024
"""Bytes of all keys and values of annotations together."""


def allowed_conflicts(live: Object, shape: Shape, api_version: str) -> FieldSet | None:
    """Fields that client-side apply set and nobody changed since: kubectl may take them over. None without any."""
    text = annotations_of(live).get(LAST_APPLIED)
    try:
        last: Any = orjson.loads(text or b"null")
    except orjson.JSONDecodeError:
        return None
    if not isinstance(last, dict) or not last.get("kind") or last.get("apiVersion") != api_version:
        return None
    if misfits(last, shape):
        return None
    changed, removed = changes(last, live, shape)
    return difference(difference(field_set_of(last, shape), changed), removed)


def refreshed(merged: Object, applied: Object) -> Object:
    """merged with its annotation, if it has one, brought up to date with what was applied just now."""
    annotations = annotations_of(merged)
    if not annotations.get(LAST_APPLIED):
        return merged
    config = dict(applied)
    metadata = dict(config.get("metadata") or {})
    if metadata.get("annotations") is not None:
        metadata["annotations"] = {k: v for k, v in metadata["annotations"].items() if k != LAST_APPLIED}
        config["metadata"] = metadata
    annotations = {**annotations, LAST_APPLIED: go_json(config) + "\n"}
    if sum(len(k.encode()) + len(v.encode()) for k, v in annotations.items()) > _ANNOTATIONS_LIMIT:
        del annotations[LAST_APPLIED]
    return {**merged, "metadata": {**merged["metadata"], "annotations": annotations}}
