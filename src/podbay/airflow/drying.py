"""`dry_run()`: the manifest that a task would ask for, printed (spec 112)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from podbay.airflow.naming import build_named
from podbay.airflow.portable import encode, plain, revive
from podbay.airflow.request import Surroundings
from podbay.objects.meta import name_of
from podbay.pods.render import render
from podbay.pods.template import load_template

__all__ = ["dry_manifest"]


def dry_manifest(parameters: Mapping[str, Any], task_id: str) -> str:
    """YAML. Raises InvalidInputError."""
    given = {
        name: plain(revive(encode(value)))
        for name, value in parameters.items()
        if value is not None and not callable(value) and name != "callbacks"
    }
    path = given.get("pod_template_file")
    template = load_template(Path(path).read_text(), str(path)) if path else None
    layers = (template, given.get("pod_template_dict"), given.get("full_pod_spec"))
    if not any(name_of(each or {}) for each in layers):
        given.setdefault("name", task_id)
    return render(build_named(given, Surroundings(template=template)).pod)
