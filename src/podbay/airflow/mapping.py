"""Mapped tasks in the triggerer (airflow.md T7): the scheduler starts them with their unexpanded arguments, and the trigger
picks the values of its own index. The SDK's MappedOperator, with real Python values, is at hand only in a policy.
"""

from __future__ import annotations

import inspect
from datetime import timedelta
from typing import Any

from podbay.airflow.checking import check_carried, check_parameters
from podbay.airflow.describing import CHANGES, Description, overridden
from podbay.airflow.foreseeing import foresee
from podbay.airflow.parameters import PARAMETERS, template_fields_of
from podbay.airflow.request import BASE_CONTAINER, taken
from podbay.airflow.task import settings, start_arguments

__all__ = ["mapped_description", "mapped_parameters", "start_mapped"]


def start_mapped(mapped: Any) -> None:
    """Decide where a mapped task of ours starts, and set it. Raises InvalidInputError for impossible parameters."""
    for name, value in mapped.partial_kwargs.items():
        if name in PARAMETERS:
            mapped.partial_kwargs[name] = taken(name, value)
    _check(mapped)
    description = mapped_description(mapped)
    placement = description.placement()
    if placement.where != "triggerer":
        mapped.start_from_trigger, mapped.start_trigger_args = False, None
        return
    limit: timedelta | None = mapped.partial_kwargs.pop("execution_timeout", None)
    if limit is not None:
        mapped.partial_kwargs["_podbay_timeout"] = limit
    limit = mapped.partial_kwargs.get("_podbay_timeout")
    mapped.start_trigger_args = start_arguments(description, placement, limit, _function(mapped))
    mapped.start_from_trigger = True


def _function(mapped: Any) -> dict[str, Any] | None:
    """Of a mapped `@task.pod`."""
    make = getattr(mapped.operator_class, "podbay_function_of", None)
    return None if make is None else make(mapped.python_callable)


def mapped_parameters(mapped: Any) -> dict[str, Any]:
    """What all instances of a mapped task have in common, by the table's names."""
    partial = mapped.partial_kwargs
    given = {name: row.default for name, row in PARAMETERS.items()}
    given |= _inherited(mapped)
    given |= {name: value for name, value in partial.items() if name in PARAMETERS}
    own_name = getattr(mapped.operator_class, "BASE_CONTAINER_NAME", BASE_CONTAINER)
    given["base_container_name"] = given.get("base_container_name") or own_name
    return given | _class_defaults(mapped.operator_class, partial)


def _check(mapped: Any) -> None:
    given = mapped_parameters(mapped)
    subject = f"{mapped.operator_class.__name__}(task_id={mapped.task_id!r})"
    known = check_parameters(
        subject,
        given,
        whole=False,
        transport=settings().result_transport,
        fields=template_fields_of(mapped),
    )
    foresee(subject, given, known)
    adopted = mapped.operator_class.__module__.startswith("airflow.")
    if not adopted and not overridden(mapped.operator_class, CHANGES):
        check_carried(subject, given, fields=template_fields_of(mapped))
    of_its_class = getattr(mapped.operator_class, "podbay_check_mapped", None)
    if of_its_class is not None:
        of_its_class(mapped)


def mapped_description(mapped: Any) -> Description:
    """Of all instances of a mapped task."""
    partial = mapped.partial_kwargs
    given = mapped_parameters(mapped)
    if hasattr(mapped, "python_callable"):
        given |= {name: partial.get(name) for name in ("op_args", "op_kwargs")}
    description = Description(
        mapped,
        given,
        settings(),
        operator_class=mapped.operator_class,
        expand_input=getattr(mapped, "op_kwargs_expand_input", mapped.expand_input),
        expand_into="op_kwargs" if hasattr(mapped, "op_kwargs_expand_input") else "",
        timeout=partial.get("execution_timeout") or partial.get("_podbay_timeout"),
    )
    own = overridden(mapped.operator_class, ("__init__",))
    # What a class makes of its arguments, it makes when the task is unmapped.
    description.needs_worker = getattr(mapped.operator_class, "podbay_needs_worker", "") or (
        f"{own[0]} says parameters of the pod" if own else ""
    )
    return description


def _inherited(mapped: Any) -> dict[str, Any]:
    """`default_args` of the DAG and the task group, which Airflow gives to a mapped task only when it unmaps it."""
    found: dict[str, Any] = dict(getattr(mapped.dag, "default_args", None) or {})
    found |= getattr(mapped.task_group, "default_args", None) or {}
    return {name: value for name, value in found.items() if name in PARAMETERS}


def _class_defaults(operator_class: type, partial: dict[str, Any]) -> dict[str, Any]:
    """Other defaults that a subclass's own signature has."""
    found = {}
    for name, parameter in inspect.signature(operator_class).parameters.items():
        own = parameter.default
        if (
            name in PARAMETERS
            and name not in partial
            and own not in (inspect.Parameter.empty, PARAMETERS[name].default)
        ):
            found[name] = own
    return found
