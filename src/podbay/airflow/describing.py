"""What a task in a DAG file says, read once for all: facts for the placement, and what is carried to the triggerer.

For operators and for mapped ones, ours and adopted ones. Runs wherever a DAG file is read, so it imports nothing heavy.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from podbay.airflow.carried import Carried
from podbay.airflow.checking import check_values
from podbay.airflow.parameters import PARAMETERS, TEMPLATE_FIELDS, Parameter, template_fields_of
from podbay.airflow.placement import Placement, TaskFacts, has_templates, place, unsupported_in_templates
from podbay.airflow.portable import MARK, encode, encode_expansion
from podbay.airflow.settings import Settings
from podbay.errors import InvalidInputError

__all__ = ["CHANGES", "Description", "overridden"]

CHANGES: Final = ("execute", "pre_execute", "render_template_fields", "podbay_parameters")
"""Methods in which a subclass may make other parameters of those it was given."""

_BEFORE: Final = ("on_execute_callback",)
_AFTER_SUCCESS: Final = ("on_success_callback", "on_skipped_callback", "outlets", "map_index_template")
_AFTER_FAILURE: Final = ("on_failure_callback", "on_retry_callback", "retry_policy")


class Description:
    """One task as its DAG file has it. `task` is an operator or a MappedOperator."""

    def __init__(
        self,
        task: Any,
        parameters: Mapping[str, Any],
        settings: Settings,
        *,
        operator_class: type,
        expand_input: Any = None,
        expand_into: str = "",
        timeout: timedelta | None = None,
    ) -> None:
        self._task = task
        self._class = operator_class
        self._settings = settings
        self._timeout = timeout
        self._dag = task.get_dag()
        self.needs_worker = ""
        """Why it has to start on a worker, if its class has a reason of its own."""
        self._unportable = ""
        self._code = tuple(name for name, row in PARAMETERS.items() if row.code and parameters.get(name))
        self._fields = template_fields_of(task)
        self._given = parameters
        self._parameters = self._encoded(parameters)
        self._expansion = None if expand_input is None else self._expanded(expand_input, expand_into)
        self._template_text, self._template_trouble = self._template_file()
        self._deferrable = parameters.get("deferrable")

    def _encoded(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        found = {}
        for name, value in parameters.items():
            row = PARAMETERS.get(name)
            if value is None and not (row is not None and row.none_counts):
                continue
            if row is not None and (row.code or row.part == "none" or _is_default(row, value)):
                continue
            if name == "env_vars":
                value = _listed(value)
            try:
                found[name] = encode(value, task=self._task)
            except InvalidInputError as error:
                # Nobody needs what is without effect.
                if name != "trigger_kwargs":
                    self._unportable = self._unportable or f"{name}: {error}"
        return found

    def _expanded(self, expand_input: Any, into: str) -> Mapping[str, Any] | None:
        try:
            expansion = encode_expansion(expand_input, task=self._task)
        except InvalidInputError as error:
            self._unportable = self._unportable or f"expand: {error}"
            return None
        if into:
            return {**expansion, "into": into}
        strange = [key for key in _keys(expansion) if key not in PARAMETERS or PARAMETERS[key].code]
        if strange:
            self._unportable = self._unportable or f"expand({strange[0]}=…) is not about the pod"
        return {**expansion, "value": _with_listed_variables(expansion["kind"], expansion["value"])}

    def _template_file(self) -> tuple[str | None, str]:
        path = self._parameters.get("pod_template_file")
        if not path:
            return None, ""
        if not isinstance(path, str) or has_templates(path):
            return None, "the name of pod_template_file is a template"
        try:
            return Path(path).read_text(), ""
        except (OSError, UnicodeDecodeError):
            return None, "pod_template_file cannot be read where the DAG file is parsed"

    # -- where it runs

    def placement(self) -> Placement:
        return place(self.facts())

    def facts(self) -> TaskFacts:
        task = self._task
        heard = _listened_to()
        success = ("listeners",) if heard & {"running", "success", "skipped"} else ()
        failure = ("listeners",) if heard & {"running", "failed"} else ()
        own = overridden(self._class, ("execute",))
        return TaskFacts(
            deferrable=self._deferrable,
            code=(*self._code, *own),
            unportable=self.needs_worker or self._unportable or self._template_trouble or self._own_params(),
            templates=self._templates(),
            before=(*self._hooks(_BEFORE), *self._executables("pre_execute")),
            after_success=(*self._hooks(_AFTER_SUCCESS), *self._executables("post_execute"), *success),
            after_failure=(*self._hooks(_AFTER_FAILURE), *self._failing(), *failure),
            pool=task.pool,
            pools_count_deferred=self._settings.pools_count_deferred,
        )

    def _hooks(self, names: Iterable[str]) -> tuple[str, ...]:
        return tuple(name for name in names if self._attribute(name))

    def _attribute(self, name: str) -> Any:
        found = getattr(self._task, name, None)
        if found is None:
            found = (getattr(self._task, "partial_kwargs", None) or {}).get(name)
        return found

    def _executables(self, name: str) -> tuple[str, ...]:
        given = self._attribute(f"_{name}_hook") or (getattr(self._task, "partial_kwargs", None) or {}).get(
            name
        )
        return (name,) if given or overridden(self._class, (name,)) else ()

    def _failing(self) -> tuple[str, ...]:
        found = []
        if self._attribute("email") and (
            self._attribute("email_on_failure") or self._attribute("email_on_retry")
        ):
            found.append("email")
        if getattr(self._dag, "fail_fast", False):
            found.append("fail_fast")
        return tuple(found)

    def _own_params(self) -> str:
        """A `params` of the task that a run's conf may contradict ends the whole triggerer (airflow.md T2)."""
        own: Any = getattr(self._task, "params", None)
        of_dag: Any = getattr(self._dag, "params", None) or {}
        for name in own or ():
            param = own.get_param(name) if hasattr(own, "get_param") else None
            theirs = of_dag.get_param(name) if hasattr(of_dag, "get_param") and name in of_dag else None
            if param is not None and getattr(param, "schema", None) and not _is_same_param(param, theirs):
                return f"its own param {name} has a schema"
        return ""

    def _templates(self) -> str:
        values = [self._parameters.get(name) for name in (*self._fields, "op_args", "op_kwargs")]
        if self._expansion is not None:
            values.append(self._expansion["value"])
        if not any(has_templates(value) for value in values):
            return self._file_templates(values)
        for value in values:
            name = unsupported_in_templates(value)
            if name:
                return f"only a worker knows {name}"
        return self._environment() or self._file_templates(values)

    def _environment(self) -> str:
        """What of the DAG changes how templates are rendered and cannot be carried."""
        import jinja2

        dag = self._dag
        for name in ("user_defined_macros", "user_defined_filters", "jinja_environment_kwargs"):
            if getattr(dag, name, None):
                return f"templates with {name} are rendered where the DAG file is"
        if getattr(dag, "template_undefined", jinja2.StrictUndefined) is not jinja2.StrictUndefined:
            return "templates with template_undefined are rendered where the DAG file is"
        return ""

    def _file_templates(self, values: list[Any]) -> str:
        endings = tuple(getattr(self._class, "template_ext", ()) or ())
        if endings and any(_ends_with(value, endings) for value in values):
            return "template files are read where the DAG file is"
        return ""

    # -- what is carried

    def carried(self, placement: Placement, *, function: Mapping[str, Any] | None = None) -> Carried:
        """For the triggerer, unrendered."""
        return Carried(
            parameters=self._parameters,
            expansion=self._expansion,
            native=self._native(),
            timeout=None if self._timeout is None else self._timeout.total_seconds(),
            finish=placement.finish,
            reason=placement.sentence(),
            multiple_outputs=bool(self._attribute("multiple_outputs")),
            mapped_over=self._is_mapped_over(),
            template_text=self._template_text,
            templated=self._templated(function),
            function=function,
            limits=self._limits() or None,
            priority=int(self._attribute("priority_weight") or 1),
            queue=str(self._attribute("queue") or ""),
        )

    def rendered(
        self, placement: Placement, *, deadline: float | None, function: Mapping[str, Any] | None = None
    ) -> Carried:
        """For whoever runs it from here, after Airflow has rendered it. Raises InvalidInputError."""
        if self._unportable:
            raise InvalidInputError(self._unportable)
        if self._templated(function) is not None:
            check_values(f"{self._class.__name__}(task_id={self._task.task_id!r})", self._given)
        text = self._template_text
        if text is None and self._parameters.get("pod_template_file"):
            raise InvalidInputError(
                f"pod_template_file {self._parameters['pod_template_file']} cannot be read"
            )
        carried = self.carried(placement, function=function)
        return replace(carried, rendered=True, deadline=deadline, template_text=text)

    def _templated(self, function: Mapping[str, Any] | None) -> tuple[str, ...] | None:
        """Where the class says other ones than upstream's. A function has a command of its own, which is none."""
        managed = () if function is None else ("cmds", "arguments")
        return None if {*self._fields, *managed} == {*TEMPLATE_FIELDS} else self._fields

    def _native(self) -> bool:
        own = self._attribute("render_template_as_native_obj")
        return bool(getattr(self._dag, "render_template_as_native_obj", False) if own is None else own)

    def _is_mapped_over(self) -> bool:
        if self._expansion is not None or self._dag is None:
            return False
        # Airflow's own answer looks at all tasks of the DAG; most need not ask for it.
        after = [self._dag.task_dict.get(name) for name in self._task.downstream_task_ids]
        if not any(each and (each.is_mapped or each.get_closest_mapped_task_group()) for each in after):
            return False
        return next(iter(self._task.iter_mapped_dependants()), None) is not None

    def _limits(self) -> dict[str, int]:
        found = {}
        for name in ("max_active_tis_per_dag", "max_active_tis_per_dagrun"):
            value = self._attribute(name)
            if value:
                found[name] = int(value)
        # Airflow does not count deferred tasks here; one that would otherwise run is counted as one that runs.
        most = getattr(self._dag, "max_active_tasks", None)
        if self._deferrable is None and most:
            found["max_active_tasks"] = int(most)
        return found


def _keys(expansion: Mapping[str, Any]) -> Iterable[str]:
    """Names of mapped arguments, as far as they stand in the DAG file."""
    value = expansion["value"]
    if expansion["kind"] == "dict-of-lists":
        return list(value)
    rows = value if isinstance(value, list) else ()
    return [key for row in rows if isinstance(row, Mapping) and MARK not in row for key in row]


def _with_listed_variables(kind: str, value: Any) -> Any:
    """Of mapped arguments, encoded."""
    if kind == "dict-of-lists":
        each = value.get("env_vars")
        return {**value, "env_vars": [_listed(one) for one in each]} if isinstance(each, list) else value
    if not isinstance(value, list):
        return value
    return [{**row, "env_vars": _listed(row["env_vars"])} if "env_vars" in row else row for row in value]


def _listed(variables: Any) -> Any:
    """As upstream: names are templates, too. What comes out of a result stays as it is."""
    if not isinstance(variables, Mapping) or MARK in variables:
        return variables
    return [{"name": name, "value": value} for name, value in variables.items()]


def _is_default(row: Parameter, value: Any) -> bool:
    return type(value) is type(row.default) and bool(value == row.default)


def _ends_with(value: Any, endings: tuple[str, ...]) -> bool:
    if isinstance(value, str):
        return value.endswith(endings)
    if isinstance(value, Mapping):
        return any(_ends_with(each, endings) for each in value.values())
    return isinstance(value, list) and any(_ends_with(each, endings) for each in value)


def overridden(operator_class: type, names: Iterable[str]) -> tuple[str, ...]:
    """Methods that a subclass outside of Airflow and Podbay has its own of."""
    found = []
    for name in names:
        for each in operator_class.__mro__:
            if name in vars(each):
                if not each.__module__.startswith(("podbay.", "airflow.")):
                    found.append(f"{each.__name__}.{name}")
                break
    return tuple(found)


def _listened_to() -> set[str]:
    """States of tasks that plugins of this Airflow listen to."""
    from airflow.sdk.listener import get_listener_manager

    hooks = get_listener_manager().hook
    return {
        state
        for state in ("running", "success", "failed", "skipped")
        if (hook := getattr(hooks, f"on_task_instance_{state}", None)) is not None and hook.get_hookimpls()
    }


def _is_same_param(own: Any, of_dag: Any) -> bool:
    """Airflow gives every task a copy of the DAG's params; those were checked when the run was made."""
    return of_dag is not None and (own.value, own.schema) == (of_dag.value, of_dag.schema)
