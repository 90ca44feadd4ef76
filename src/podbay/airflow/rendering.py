"""Templates rendered in the triggerer, with the same result as on a worker.

The triggerer's own rendering gives '' for unknown names, knows no native objects and hangs for ever on `xcom_pull` in its
usual form (airflow.md T1). Here Airflow's own Templater and environment do the work, with the arguments of a worker:
StrictUndefined, native objects if the DAG says so, references to XComs, mapped arguments. What needs more (macros of the
DAG, a task state store, …) was sent to a worker at parse (placement.py).
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import greenback
from airflow.sdk.definitions._internal.templater import Templater, create_template_env

from podbay.airflow.calls import AirflowCalls, TaskKey
from podbay.airflow.checking import check_values
from podbay.airflow.expansion import pick
from podbay.airflow.parameters import PARAMETERS, TEMPLATE_FIELDS
from podbay.airflow.portable import MARK, plain, revive
from podbay.airflow.template_trouble import template_trouble
from podbay.errors import InvalidInputError

__all__ = ["Shape", "render_parameters", "shape_of"]

_CALL: Final = ("op_args", "op_kwargs")
_PLAIN: Final = re.compile(r"(?:[^{\r\n]|\{(?![{%#]))*")
"""A text in which Jinja finds nothing to do; it also normalises line ends."""
RENDER_SECONDS: Final = 60.0
"""A template may ask the supervisor for many things; one that takes longer waits for something that never comes."""


class Shape:
    """What of a DAG rendering needs to know: which tasks have several instances."""

    def __init__(self, dag: Any) -> None:
        self._dag = dag

    def is_mapped(self, task_id: str) -> bool:
        try:
            task = self._dag.get_task(task_id)
        except Exception:  # noqa: BLE001 - Airflow has several classes of "no such task", and old DAG versions have none
            return False
        return bool(task.is_mapped) or task.get_closest_mapped_task_group() is not None


def shape_of(ti: Any) -> Shape:
    return Shape(ti.task.dag)


async def render_parameters(
    parameters: Mapping[str, Any],
    *,
    expansion: Mapping[str, Any] | None,
    native: bool,
    ti: Any,
    key: TaskKey,
    calls: AirflowCalls,
    templated: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Rendered plain values by parameter. `ti` is the triggerer's RuntimeTaskInstance; `templated` are the parameters
    that are templates, where those are not upstream's.

    Raises InvalidInputError with the parameter's name for whatever cannot be rendered.
    """
    fetch = _Fetcher(key, calls, shape_of(ti))
    values = {name: revive(await fetch.resolved(value)) for name, value in parameters.items()}
    if expansion is not None:
        mapped = revive(await fetch.resolved(expansion["value"]))
        picked = pick(expansion["kind"], mapped, key.map_index)
        into = expansion.get("into")
        if not into:
            _check_names(_subject(key), picked)
        values |= {into: {**values.get(into, {}), **picked}} if into else picked
    context = _context(ti, key, calls, fetch)
    fields = tuple(name for name in (*(templated or TEMPLATE_FIELDS), *_CALL) if name in values)
    rendered = await _bounded(lambda: _render(values, fields, native, context))
    if expansion is not None or templated is not None:
        # Nobody has seen these values before.
        check_values(_subject(key), rendered)
    return rendered


def _check_names(subject: str, picked: Iterable[str]) -> None:
    """Of arguments that came out of an XCom; those of the DAG file were looked at there."""
    for name in picked:
        if name not in PARAMETERS or PARAMETERS[name].code:
            raise InvalidInputError(
                f"{subject}: expand_kwargs() got {name}, which is no parameter of the pod; give it with partial(), or set "
                "deferrable=False"
            )


def _subject(key: TaskKey) -> str:
    return f"task {key.task_id}" if key.map_index < 0 else f"task {key.task_id}[{key.map_index}]"


async def _bounded(render: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Templates call Airflow synchronously: in a portal of their own, in a task of their own, so that it can be left."""
    work = asyncio.create_task(greenback.with_portal_run_sync(render))
    try:
        return await asyncio.wait_for(work, RENDER_SECONDS)
    except TimeoutError:
        raise InvalidInputError(
            f"a template was not rendered within {RENDER_SECONDS:.0f} s: it asks for something that the triggerer "
            "cannot give; use deferrable=False, or pass the value by XCom"
        ) from None


class _Fields(Templater):
    """The templated parameters as attributes, for Airflow's Templater."""

    template_ext = ()

    def __init__(self, values: Mapping[str, Any], native: bool) -> None:
        self.__dict__.update(values)
        self.render_template_as_native_obj = native
        self.template_fields = tuple(values)
        self.failed: str | None = None
        """The text that could not be rendered."""

    def render_template(
        self, content: Any, context: Any, jinja_env: Any = None, seen_oids: set[int] | None = None
    ) -> Any:
        if not isinstance(content, str):
            return super().render_template(content, context, jinja_env, seen_oids)
        context["ti"].missed.clear()
        if not self.render_template_as_native_obj and _PLAIN.fullmatch(content):
            # Jinja would compile it, for milliseconds, to say the same.
            return content
        try:
            return super().render_template(content, context, jinja_env, seen_oids)
        except Exception:
            self.failed = content
            raise


def _render(
    values: Mapping[str, Any], names: Sequence[str], native: bool, context: Mapping[str, Any]
) -> dict[str, Any]:
    env = create_template_env(native=native)
    fields = _Fields({name: values[name] for name in names}, native)
    for name in fields.template_fields:
        given = values[name]
        try:
            fields._do_render_template_fields(fields, (name,), context, env, set())
        except Exception as error:  # noqa: BLE001 - whatever a template calls
            missed = tuple(context["ti"].missed)
            params = context.get("params")
            trouble = template_trouble(
                name, given, fields.failed, error, params=list(params) if params else (), missed=missed
            )
            raise InvalidInputError(trouble) from None
    rendered = {name: getattr(fields, name) for name in fields.template_fields}
    return {name: plain(rendered.get(name, value)) for name, value in values.items()}


class _Fetcher:
    """Replaces references by what they refer to."""

    def __init__(self, key: TaskKey, calls: AirflowCalls, shape: Shape) -> None:
        self._key = key
        self._calls = calls
        self._shape = shape

    async def resolved(self, value: Any) -> Any:
        """`value` with every reference as a literal."""
        if isinstance(value, list):
            return [await self.resolved(each) for each in value]
        if not isinstance(value, dict):
            return value
        mark = value.get(MARK)
        if mark == "xcom":
            return {MARK: "literal", "value": await self._xcom(value)}
        if mark == "group":
            mapped = revive(await self.resolved(value["value"]))
            return {
                MARK: "literal",
                "value": plain(pick(value["kind"], mapped, self._key.map_index)[value["key"]]),
            }
        if mark == "literal":
            return value
        return {name: await self.resolved(each) for name, each in value.items()}

    async def _xcom(self, reference: Mapping[str, Any]) -> Any:
        task_id, name, index = reference["task"], reference["key"], reference["index"]
        if index == "all":
            return await self.every(task_id, name)
        place = self._key.map_index if index == "same" else None
        found = await self._calls.pull(self._key, task_id, name, place)
        if found is None and not reference["optional"]:
            raise InvalidInputError(f"task {task_id} has pushed no XCom {name!r}")
        return found

    async def every(self, task_id: str, name: str) -> list[Any]:
        """Of all instances of a mapped task, in order, without those that pushed nothing."""
        count = await self._calls.count(self._key.dag_id, task_ids=[task_id], run_ids=[self._key.run_id])
        found = [await self._calls.pull(self._key, task_id, name, index) for index in range(count)]
        return [each for each in found if each is not None]

    async def usual(self, task_id: str, name: str) -> Any:
        """What `xcom_pull(task_ids=…)` without an index gives on a worker."""
        if not self._shape.is_mapped(task_id):
            return await self._calls.pull(self._key, task_id, name, None)
        values = await self.every(task_id, name)
        return None if not values else values[0] if len(values) == 1 else values

    async def each(self, task_id: str, name: str) -> list[Any]:
        """Its part of what `xcom_pull(task_ids=[…])` gives on a worker: one of each instance, None for a task without any."""
        if not self._shape.is_mapped(task_id):
            return [await self._calls.pull(self._key, task_id, name, None)]
        return await self.every(task_id, name) or [None]


def _context(ti: Any, key: TaskKey, calls: AirflowCalls, fetch: _Fetcher) -> dict[str, Any]:
    context = dict(ti.get_template_context())
    # Asking for these is never answered; without them a template says which name it is.
    for name in [name for name in context if name.startswith("prev_")]:
        del context[name]
    context["ti"] = context["task_instance"] = _TaskInstance(ti, key, calls, fetch)
    return context


class _TaskInstance:
    """`ti` in templates: Airflow's, with an `xcom_pull` whose usual form is answered."""

    def __init__(self, ti: Any, key: TaskKey, calls: AirflowCalls, fetch: _Fetcher) -> None:
        self._ti = ti
        self._key = key
        self._calls = calls
        self._fetch = fetch
        self.missed: list[str] = []
        """Pulls that found nothing."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ti, name)

    def xcom_pull(
        self,
        task_ids: str | Iterable[str] | None = None,
        dag_id: str | None = None,
        key: str = "return_value",
        include_prior_dates: bool = False,
        *,
        map_indexes: Any = ...,
        default: Any = None,
        run_id: str | None = None,
    ) -> Any:
        found = self._pulled(task_ids, dag_id, key, include_prior_dates, map_indexes, default, run_id)
        if found is None:
            names = "" if task_ids is None else f"task_ids={task_ids!r}, "
            self.missed.append(f"xcom_pull({names}key={key!r})")
        return found

    def _pulled(
        self,
        task_ids: str | Iterable[str] | None,
        dag_id: str | None,
        key: str,
        include_prior_dates: bool,
        map_indexes: Any,
        default: Any,
        run_id: str | None,
    ) -> Any:
        if (
            map_indexes is not ...
            or dag_id not in (None, self._key.dag_id)
            or run_id not in (None, self._key.run_id)
        ):
            return self._ti.xcom_pull(
                task_ids=task_ids,
                dag_id=dag_id,
                key=key,
                include_prior_dates=include_prior_dates,
                map_indexes=None if map_indexes is ... else map_indexes,
                default=default,
                run_id=run_id,
            )
        if task_ids is None or isinstance(task_ids, str):
            return greenback.await_(self._fetch.usual(task_ids or self._key.task_id, key))
        return [each for name in task_ids for each in greenback.await_(self._fetch.each(name, key))]
