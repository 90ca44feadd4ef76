"""The diagnosis speaks of a pod's fields and an operator's parameters; who has typed `podbay pod run` knows options. Pure."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["in_options"]

_OPTIONS: Final = {
    "affinity.nodeAffinity": "--node-selector",
    "env": "--env",
    "execution_timeout": "--timeout",
    "imagePullPolicy": "--pull",
    "imagePullSecrets": "--pull-secret",
    "image": "IMAGE",
    "limits.memory": "--memory",
    "metadata.name": "--name",
    "nodeSelector": "--node-selector",
    "resources.limits.memory": "--memory",
    "resources.requests.cpu": "--cpu",
    "resources.requests.memory": "--memory",
    "schedule_timeout_seconds": "--schedule-timeout",
    "serviceAccountName": "--service-account",
    "startup_timeout_seconds": "--start-timeout",
    "workingDir": "--workdir",
}
_QUOTED: Final = re.compile(r"`([\w.]+)`")
_REQUESTS_OF: Final = re.compile(r"`resources\.requests` of (cpu|memory)\b")


def in_options(text: str) -> str:
    """The advice with options in the place of the fields that they set; other fields stay."""
    text = _REQUESTS_OF.sub(r"--\1", text)
    return _QUOTED.sub(lambda found: _OPTIONS.get(found[1], found[0]), text)
