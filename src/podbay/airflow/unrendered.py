"""Which clusters a task means before it is rendered: for the pod of an earlier life, when nothing else is known. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from podbay.airflow.carried import Carried
from podbay.airflow.placement import has_templates
from podbay.airflow.portable import MARK, plain, revive
from podbay.errors import InvalidInputError

__all__ = ["cluster_parameters"]

_NAMES: Final = (
    "kubernetes_conn_id",
    "in_cluster",
    "config_file",
    "cluster_context",
    "overflow_kubernetes_conn_id",
    "overflow_after_seconds",
)


def cluster_parameters(carried: Carried) -> dict[str, Any]:
    """Those that say where the pod is. Raises InvalidInputError if that is not known before they are rendered."""
    given = {name: carried.parameters[name] for name in _NAMES if name in carried.parameters}
    if not carried.rendered:
        unknown = [name for name, value in given.items() if has_templates(value) or _is_reference(value)]
        unknown += _mapped(carried.expansion)
        if unknown:
            raise InvalidInputError(
                f"which cluster it is in was not known yet: {', '.join(unknown)} had not been rendered; the next try or "
                "the healer ends it, or you do (podbay pods, podbay kill)"
            )
    return {name: plain(revive(value)) for name, value in given.items()}


def _is_reference(value: Any) -> bool:
    return isinstance(value, Mapping) and value.get(MARK) in ("xcom", "group")


def _mapped(expansion: Mapping[str, Any] | None) -> list[str]:
    """Of these parameters, the ones that differ from one mapped instance to the next, or may."""
    if expansion is None:
        return []
    value = expansion["value"]
    if expansion["kind"] == "list-of-dicts":
        if not isinstance(value, list):
            return ["expand_kwargs()"]
        rows = [row for row in value if isinstance(row, Mapping)]
        return sorted({name for row in rows for name in row if name in _NAMES or name == MARK})
    return [name for name in _NAMES if isinstance(value, Mapping) and name in value]
