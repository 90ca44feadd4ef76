"""Whose pod it is: one try of one task, as a pod name, as exact annotations and as the labels that Airflow's tools know.

The name is a function of the identity (design D5): a second create for the same try meets the first one's pod and is
refused by the API server with 409. Annotations carry the identity unhashed and are what adoption compares (D6). Labels
are written exactly as the upstream provider writes them (spec 17, 21); they are lossy and never decoded. Nothing here may
change what it gives for an identity: pods that run during an upgrade must be found again.
"""

from __future__ import annotations

import functools
import hashlib
import json
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from podbay.errors import InvalidInputError
from podbay.objects.meta import Object, annotations_of

__all__ = [
    "ALREADY_CHECKED_LABEL",
    "DEPLOYMENT_LABEL",
    "NAME_MAX",
    "TaskIdentity",
    "as_label",
    "identity_annotations",
    "identity_of",
    "pod_name",
    "safe_label_value",
    "task_labels",
    "task_name",
    "upstream_selector",
    "with_suffix",
]

NAME_MAX: Final = 63
"""Longest pod name we give. Pods may have 253, but the name becomes the hostname, which ends at 63."""
DEPLOYMENT_LABEL: Final = "podbay.dev/deployment"
"""Our own label, so that one watch or list can be narrowed to a deployment by the server."""
ALREADY_CHECKED_LABEL: Final = "already_checked"
"""Upstream's mark ("True") on a pod that was processed to its end and kept (spec 20)."""

_PREFIX: Final = "podbay.dev/"
_IDENTITY: Final = tuple(
    _PREFIX + name
    for name in ("deployment", "dag-id", "run-id", "task-id", "map-index", "try-number", "incarnation")
)
_HASH_LENGTH: Final = 16
# No vowels, no 0/1/3: hashes must not spell words or be misread (the alphabet of Kubernetes' own random names).
_ALPHABET: Final = "bcdfghjklmnpqrstvwxz2456789"


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskIdentity:
    """One try of one task instance. Two identities are equal exactly when they may not have two pods."""

    deployment: str
    """The Airflow installation; keeps apart two of them that share a namespace."""
    dag_id: str
    run_id: str
    task_id: str
    map_index: int = -1
    """Position of a mapped task instance; -1 for one that is not mapped, as in Airflow."""
    try_number: int = 1
    incarnation: int = 0
    """Counts pods that replace one lost to the infrastructure within the same try (design D13)."""

    def __post_init__(self) -> None:
        for name in ("deployment", "dag_id", "run_id", "task_id"):
            value = getattr(self, name)
            if not isinstance(value, str) or not value:
                raise InvalidInputError(f"task identity: {name} must be a string that is not empty")
            if not _encodable(value):
                raise InvalidInputError(
                    f"task identity: {name} holds characters that cannot be written as UTF-8"
                )
        for name in ("map_index", "try_number", "incarnation"):
            value = getattr(self, name)
            if (
                not isinstance(value, int)
                or isinstance(value, bool)
                or value < (-1 if name == "map_index" else 0)
            ):
                raise InvalidInputError(f"task identity: {name} must be a whole number, not {value!r}")

    def digest(self) -> str:
        """16 characters that differ for different identities (76 bits of SHA-256 over an unambiguous encoding)."""
        parts: list[str | int] = [self.deployment, self.dag_id, self.run_id, self.task_id]
        parts += [self.map_index, self.try_number]
        if self.incarnation:
            parts.append(self.incarnation)
        text = json.dumps(["podbay.dev/v1", *parts], separators=(",", ":"), ensure_ascii=True)
        number = int.from_bytes(hashlib.sha256(text.encode()).digest(), "big")
        letters = []
        for _ in range(_HASH_LENGTH):
            number, letter = divmod(number, len(_ALPHABET))
            letters.append(_ALPHABET[letter])
        return "".join(letters)


def pod_name(identity: TaskIdentity, readable: str = "") -> str:
    """The pod's name: a readable beginning (default: the task's id) and the identity's digest; at most 63 characters.

    A valid DNS label whatever the ids hold. The beginning does not tell pods apart, the digest does.
    """
    return with_suffix(readable or identity.task_id, identity.digest())


def with_suffix(readable: str, suffix: str) -> str:
    """`readable` made a DNS label and cut so that it and `suffix` fit into NAME_MAX."""
    slug = as_label(readable)
    if not suffix:
        return slug[:NAME_MAX].rstrip("-") or "pod"
    return f"{slug[: NAME_MAX - len(suffix) - 1].rstrip('-') or 'pod'}-{suffix}"


def task_name(identity: TaskIdentity) -> str:
    """The pod's name where it is to be the task's and no more: all tries share it."""
    name = re.sub("-+", "-", as_label(identity.task_id))[:NAME_MAX].rstrip("-")
    return name or pod_name(identity)


def as_label(text: str) -> str:
    """Lower-case letters, digits and dashes; accents go, everything else becomes a dash. Of any length, or empty."""
    plain = unicodedata.normalize("NFKD", text)
    plain = "".join(each for each in plain if not unicodedata.combining(each)).lower()
    return re.sub(r"[^a-z0-9-]+", "-", plain).strip("-")


def identity_annotations(identity: TaskIdentity) -> dict[str, str]:
    """The exact identity; `identity_of` reads it back."""
    found = {
        "deployment": identity.deployment,
        "dag-id": identity.dag_id,
        "run-id": identity.run_id,
        "task-id": identity.task_id,
        "map-index": str(identity.map_index),
        "try-number": str(identity.try_number),
    }
    if identity.incarnation:
        found["incarnation"] = str(identity.incarnation)
    return {_PREFIX + key: value for key, value in found.items()}


def identity_of(pod: Object) -> TaskIdentity | None:
    """The identity that a pod carries; None when it carries none, or one that is not whole."""
    given = annotations_of(pod).get
    try:
        return _read_identity(*(given(name) for name in _IDENTITY))
    except TypeError:  # no strings, of which some cannot be remembered
        return None


# Whoever looks through all pods for its own reads each one's identity, and each task does.
@functools.lru_cache(maxsize=20_000)
def _read_identity(
    deployment: str, dag_id: str, run_id: str, task_id: str, index: str, number: str, incarnation: str | None
) -> TaskIdentity | None:
    try:
        return TaskIdentity(
            deployment=deployment,
            dag_id=dag_id,
            run_id=run_id,
            task_id=task_id,
            map_index=int(index),
            try_number=int(number),
            incarnation=0 if incarnation is None else int(incarnation),
        )
    except (TypeError, ValueError, InvalidInputError):
        return None


def safe_label_value(text: str) -> str:
    """A label value out of any text, as the upstream provider makes it (spec 21).

    Kept if it is valid; else stripped of what is not allowed, cut to 53 characters and followed by `-` and the first
    nine hexadecimal digits of the text's MD5. A text of which nothing is left becomes the digits alone: upstream leaves
    the dash in front, which no API server accepts.
    """
    safe = re.sub(r"^[^a-z0-9A-Z]*|[^a-zA-Z0-9_\-\.]|[^a-z0-9A-Z]*$", "", text)
    if len(safe) <= NAME_MAX and safe == text:
        return safe
    digest = hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()[:9]
    return f"{safe[: NAME_MAX - len(digest) - 1]}-{digest}".removeprefix("-")


def task_labels(identity: TaskIdentity, *, with_try: bool = True) -> dict[str, str]:
    """The labels by which Airflow's tools find a task's pod (spec 17): `map_index` only for mapped task instances."""
    labels = {
        "dag_id": identity.dag_id,
        "task_id": identity.task_id,
        "run_id": identity.run_id,
        "kubernetes_pod_operator": "True",
    }
    if identity.map_index >= 0:
        labels["map_index"] = str(identity.map_index)
    if with_try:
        labels["try_number"] = str(identity.try_number)
    return {key: safe_label_value(value) for key, value in labels.items()}


def upstream_selector(identity: TaskIdentity, labels: Mapping[str, str | None] | None = None) -> str:
    """The label selector with which the upstream operator looks for its pod (spec 22); `labels` are the task's own.

    For the healer and for taking over pods that upstream created; our own pods are found by name.
    """
    wanted = {key: value or "" for key, value in (labels or {}).items()} | task_labels(
        identity, with_try=False
    )
    terms = [f"{key}={value}" for key, value in sorted(wanted.items())]
    return ",".join([*terms, f"{ALREADY_CHECKED_LABEL}!=True", "!airflow-worker"])


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
