"""`@task.pod` and `@task.pod_cmd` (registered by provider.py)."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from airflow.sdk.bases.decorator import (
    DecoratedOperator,
    TaskDecorator,
    determine_kwargs,
    task_decorator_factory,
)
from airflow.sdk.definitions.context import KNOWN_CONTEXT_KEYS

from podbay.airflow.describing import Description
from podbay.airflow.function import check_callable, pod_command
from podbay.airflow.operators import KubernetesPodOperator
from podbay.airflow.parameters import TEMPLATE_FIELDS
from podbay.airflow.request import transport
from podbay.airflow.task import settings
from podbay.errors import InvalidInputError
from podbay.pods.result import RESULT_PATH

__all__ = ["pod_cmd_task", "pod_task"]

_CALL = ("op_args", "op_kwargs")
_MANAGED = ("cmds", "arguments")


class PodFunctionOperator(DecoratedOperator, KubernetesPodOperator):
    """Runs a Python function in a pod; its return value is the task's result."""

    custom_operator_name = "@task.pod"
    template_fields: Sequence[str] = (*_CALL, *(name for name in TEMPLATE_FIELDS if name not in _MANAGED))
    shallow_copy_attrs: Sequence[str] = ("python_callable",)

    def __init__(
        self, *, python_callable: Callable[..., Any], do_xcom_push: bool = True, **kwargs: Any
    ) -> None:
        _refuse_managed(self.custom_operator_name, kwargs)
        super().__init__(python_callable=python_callable, do_xcom_push=do_xcom_push, **kwargs)
        self._podbay_source = self.podbay_function_of(python_callable)
        if not kwargs.get("_airflow_mapped_validation_only"):
            _refuse_context(python_callable, self.op_args, self.op_kwargs)

    _podbay_called = False
    """The call has become a command; its arguments may be objects that cannot travel otherwise."""

    def podbay_parameters(self) -> dict[str, Any]:
        found = super().podbay_parameters()
        return found if self._podbay_called else found | {name: getattr(self, name) for name in _CALL}

    def podbay_function(self) -> dict[str, Any] | None:
        return None if self._podbay_called else self._podbay_source

    def execute(self, context: Any) -> Any:
        way_out = transport(self.podbay_parameters(), settings().result_transport)
        result = "" if way_out == "none" else RESULT_PATH
        self.cmds, self.arguments = pod_command(
            self._podbay_source, self.op_args, self.op_kwargs, result=result
        )
        self._podbay_called = True
        return KubernetesPodOperator.execute(self, context)

    @classmethod
    def podbay_function_of(cls, python_callable: Callable[..., Any]) -> dict[str, Any]:
        """Also for mapped tasks. Raises InvalidInputError for what cannot run in a pod."""
        return dict(check_callable(python_callable))

    @classmethod
    def podbay_check_mapped(cls, mapped: Any) -> None:
        """The same of a whole mapped task. What `expand_kwargs` gives is known when an instance of it runs."""
        cls.podbay_function_of(mapped.python_callable)
        if mapped.op_kwargs_expand_input.EXPAND_INPUT_TYPE == "dict-of-lists":
            given = {**mapped.partial_kwargs.get("op_kwargs", {}), **mapped.op_kwargs_expand_input.value}
            _refuse_context(mapped.python_callable, (), given)


class PodCommandOperator(DecoratedOperator, KubernetesPodOperator):
    """Runs the command that a Python function returns. The function itself runs on a worker."""

    custom_operator_name = "@task.pod_cmd"
    template_fields: Sequence[str] = (*_CALL, *TEMPLATE_FIELDS)
    shallow_copy_attrs: Sequence[str] = ("python_callable",)
    overwrite_rtif_after_execution = True

    def __init__(
        self, *, python_callable: Callable[..., Any], args_only: bool = False, **kwargs: Any
    ) -> None:
        _refuse_managed(self.custom_operator_name, kwargs)
        self.args_only = args_only
        super().__init__(python_callable=python_callable, **kwargs)

    podbay_needs_worker = "its function makes the command"

    def podbay_description(self) -> Description:
        found = super().podbay_description()
        found.needs_worker = self.podbay_needs_worker
        return found

    def execute(self, context: Any) -> Any:
        words = self._words(context)
        self.cmds, self.arguments = ([], words) if self.args_only else (words, [])
        self.render_template_fields(context)
        return KubernetesPodOperator.execute(self, context)

    def _words(self, context: Any) -> list[str]:
        name = self.python_callable.__name__
        kwargs = determine_kwargs(self.python_callable, self.op_args, {**context, **self.op_kwargs})
        words = self.python_callable(*self.op_args, **kwargs)
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            raise InvalidInputError(f"@task.pod_cmd {name}: must return a list of strings")
        if not words:
            raise InvalidInputError(f"@task.pod_cmd {name}: returned an empty list")
        return words


def _refuse_managed(decorator: str, given: Mapping[str, Any]) -> None:
    for name in _MANAGED:
        if given.get(name) is not None:
            raise InvalidInputError(f"{decorator}: {name} cannot be given; the function says what is run")


def _refuse_context(function: Callable[..., Any], args: Collection[Any], given: Mapping[str, Any]) -> None:
    """A worker would fill these arguments in, from what a pod does not have."""
    signature = inspect.signature(function)
    filled = signature.bind_partial(*args, **given).arguments
    missing = [name for name in signature.parameters if name in KNOWN_CONTEXT_KEYS and name not in filled]
    if missing:
        raise InvalidInputError(
            f"@task.pod {function.__name__}: Airflow gives {', '.join(missing)} to functions that run on workers, not in "
            f'pods; pass what it needs of it, such as run_id="{{{{ run_id }}}}"'
        )


def pod_task(
    python_callable: Callable[..., Any] | None = None, multiple_outputs: bool | None = None, **kwargs: Any
) -> TaskDecorator:
    """Run a function in a pod. Takes the parameters of KubernetesPodOperator, but no command.

    The image needs python3 (3.8 or newer). The function's source is sent: imports belong inside of it.
    """
    return task_decorator_factory(
        python_callable=python_callable,
        multiple_outputs=multiple_outputs,
        decorated_operator_class=PodFunctionOperator,
        **kwargs,
    )


def pod_cmd_task(python_callable: Callable[..., Any] | None = None, **kwargs: Any) -> TaskDecorator:
    """Run the command that a function returns: a list of strings, or of arguments with `args_only=True`."""
    return task_decorator_factory(
        python_callable=python_callable, decorated_operator_class=PodCommandOperator, **kwargs
    )
