"""The podbay.yaml that `podbay init` writes: short, with the figures that people change in sight. Pure."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["name_from", "starter_file"]

_TEXT: Final = """\
# A Podbay deployment. All fields: podbay schema. What apply would do: podbay plan.
version: 1
name: {name}
namespace: {namespace}

pods:
  # Of containers that say nothing themselves.
  default: {{cpu: 250m, memory: 512Mi, ephemeral_storage: 256Mi}}
  # Of a whole pod; more than the quota could never start.
  maximum: {{cpu: 10, memory: 20Gi, ephemeral_storage: 100Gi}}
  # Raise every container's requests to its limits, so that no pod is evicted for using what it asked for.
  requests: follow-limits

# Ceiling on all task pods together.
quota: {{cpu: 10, memory: 20Gi}}

# Names of secret variables; values: podbay secrets set NAME
secrets: []
"""


def starter_file(name: str, namespace: str) -> str:
    """The text; name and namespace as given, checked by whoever reads it."""
    return _TEXT.format(name=name, namespace=namespace)


def name_from(directory: str) -> str:
    """A deployment name after a directory's; `airflow` when nothing of it can stay."""
    return re.sub(r"[^a-z0-9]+", "-", directory.lower()).strip("-")[:40].strip("-") or "airflow"
