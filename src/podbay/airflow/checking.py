"""What is refused when a DAG is parsed: unknown, contradicting and impossible parameters, each by its name. Pure.

Only what is certain before rendering; a value with a template in it is checked when it is rendered.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import timedelta
from os import PathLike
from typing import Any, Final

from podbay.airflow.loans import loan_problems
from podbay.airflow.naming import build_named
from podbay.airflow.parameters import PARAMETERS, TEMPLATE_FIELDS, parameters_of
from podbay.airflow.placement import has_templates
from podbay.airflow.portable import MARK, encode, plain, revive
from podbay.airflow.request import Surroundings, said, skip_codes
from podbay.errors import InvalidInputError
from podbay.lifecycle.hold import LONGEST
from podbay.objects.meta import Object
from podbay.pods.identity import TaskIdentity
from podbay.pods.problems import Problem, kind_of, refuse

__all__ = ["KnownPod", "check_carried", "check_names", "check_parameters", "check_values", "known_pod"]

FINISH_ACTIONS: Final = ("delete_pod", "delete_succeeded_pod", "delete_active_pod", "keep_pod")
KILL_ACTIONS: Final = ("delete_pod", "keep_pod")
TRANSPORTS: Final = ("sidecar", "termination_message")
_SECONDS: Final = ("startup_timeout_seconds", "schedule_timeout_seconds", "termination_grace_period")
_NAMES: Final = ("name", "namespace", "base_container_name")
LATER: Final = "rendered-later"
_DECLARES_VOLUMES: Final = {"volumes", "pod_template_dict", "full_pod_spec"}
_MOUNTS_VOLUMES: Final = ("volume_mounts", "init_containers")
_ANYBODY: Final = TaskIdentity(deployment="check", dag_id="check", run_id="check", task_id="check")


@dataclass(frozen=True, slots=True)
class KnownPod:
    """The pod of all that is known where a DAG file is read."""

    pod: Object
    """Without a namespace if none is said; an image that is rendered later stands as `rendered-later`."""
    later: frozenset[str]
    """Parameters that come later: templates, results of other tasks, what is not read here, arguments of mapped tasks ("*")."""


def check_names(subject: str, given: Collection[str], known: Collection[str]) -> None:
    """Refuse names that neither the table nor Airflow knows, with the nearest known one."""
    names = [*PARAMETERS, *known]
    problems = []
    for name in given:
        if name not in names:
            near = difflib.get_close_matches(name, names, n=1, cutoff=0.7)
            problems.append(Problem(name, f"no such parameter{f'; did you mean {near[0]}?' if near else ''}"))
    refuse(subject, problems)


def check_carried(subject: str, given: Mapping[str, Any], *, fields: Sequence[str] = TEMPLATE_FIELDS) -> None:
    """Refuse values that cannot become a part of a pod, nor travel: no run could begin. Rendering may make something else of
    an object in one of `fields`, and of no other."""
    problems = []
    for name, value in given.items():
        row = PARAMETERS[name]
        if (
            row.code
            or row.part == "none"
            or name == "trigger_kwargs"
            or (name in fields and _may_change(value))
        ):
            continue
        if name == "env_vars" and isinstance(value, Mapping):
            value = list(value.items())
        try:
            encode(value)
        except InvalidInputError as error:
            problems.append(Problem(name, str(error)))
    refuse(subject, problems)


def _may_change(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(_may_change(each) for each in value.values())
    if isinstance(value, list | tuple | Set):
        return any(_may_change(each) for each in value)
    return value is not None and not isinstance(value, str | int | float | bytes | PathLike)


def check_parameters(
    subject: str,
    given: Mapping[str, Any],
    *,
    whole: bool = True,
    transport: str = "sidecar",
    fields: Sequence[str] = TEMPLATE_FIELDS,
) -> KnownPod:
    """Refuse what cannot be right. `whole` is False for a mapped task, whose other parameters come later; `transport` is
    the deployment's for results; `fields` are the parameters that are templates.

    Gives the pod as far as it is known. Raises InvalidInputError that lists every problem.
    """
    check_values(subject, given, fields=fields)
    try:
        return known_pod(given, whole=whole, transport=transport, fields=fields)
    except InvalidInputError as error:
        raise InvalidInputError(f"{subject}: {error}") from None


def check_values(subject: str, given: Mapping[str, Any], *, fields: Sequence[str] = ()) -> None:
    """Refuse values of parameters that make no pod, and pairs that contradict each other; what is rendered later is left out."""
    known = {name: value for name, value in given.items() if not (name in fields and has_templates(value))}
    problems: list[Problem] = []
    _check_names(known, problems)
    _check_choices(known, problems)
    _check_numbers(known, problems)
    _check_pairs(given, problems)
    _check_hold(known, problems)
    _check_overflow(known, problems)
    problems += loan_problems(known)
    refuse(subject, problems)


def _check_choices(given: Mapping[str, Any], problems: list[Problem]) -> None:
    choices = {
        "on_finish_action": FINISH_ACTIONS,
        "on_kill_action": KILL_ACTIONS,
        "result_transport": (None, *TRANSPORTS),
    }
    for name, allowed in choices.items():
        if name in given and given[name] not in allowed:
            words = ", ".join(word for word in allowed if word)
            problems.append(Problem(name, f"must be one of {words}"))


def _check_names(given: Mapping[str, Any], problems: list[Problem]) -> None:
    for name in _NAMES:
        if isinstance(given.get(name), int | float | bytes | list | tuple | dict):
            problems.append(Problem(name, f"must be a string, not {kind_of(given[name])}"))


def _check_numbers(given: Mapping[str, Any], problems: list[Problem]) -> None:
    for name in _SECONDS:
        value = given.get(name)
        if value is not None and (not _is_number(value) or value < 0):
            problems.append(Problem(name, "must be a number of seconds, not negative"))
    after = given.get("overflow_after_seconds", 0)
    if not _is_number(after) or after < 0:
        problems.append(Problem("overflow_after_seconds", "must be a number of seconds, not negative"))
    retries = given.get("infrastructure_retries", 0)
    if not isinstance(retries, int) or isinstance(retries, bool) or retries < 0:
        problems.append(Problem("infrastructure_retries", "must be a whole number, not negative"))
    codes = given.get("skip_on_exit_code")
    try:
        found = skip_codes(codes)
    except TypeError:
        problems.append(Problem("skip_on_exit_code", "must be an exit code or a list of them"))
        return
    if any(not isinstance(code, int) or isinstance(code, bool) for code in found):
        problems.append(Problem("skip_on_exit_code", "must be an exit code or a list of them"))
    elif 0 in found:
        problems.append(Problem("skip_on_exit_code", "cannot hold 0, which is success"))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _check_overflow(given: Mapping[str, Any], problems: list[Problem]) -> None:
    other = given.get("overflow_kubernetes_conn_id")
    if other is None:
        return
    if not isinstance(other, str) or not other:
        problems.append(Problem("overflow_kubernetes_conn_id", "must be the name of a connection"))
    elif other == given.get("kubernetes_conn_id"):
        problems.append(Problem("overflow_kubernetes_conn_id", "is the same cluster as kubernetes_conn_id"))


def _check_pairs(given: Mapping[str, Any], problems: list[Problem]) -> None:
    def has(name: str) -> bool:
        return name in given and said(name, given[name])

    if given.get("in_cluster") and has("config_file"):
        problems.append(
            Problem("in_cluster", "cannot be True together with config_file; they name two clusters")
        )
    if has("pod_template_file") and has("pod_template_dict"):
        problems.append(Problem("pod_template_file", "cannot be given together with pod_template_dict"))
    if has("result_transport") and not given.get("do_xcom_push"):
        problems.append(Problem("result_transport", "has nothing to transport without do_xcom_push=True"))


def _check_hold(given: Mapping[str, Any], problems: list[Problem]) -> None:
    name, hold = "hold_on_failure", given.get("hold_on_failure")
    if hold is None:
        return
    if not isinstance(hold, timedelta):
        problems.append(Problem(name, f"must be a timedelta, not {kind_of(hold)}"))
    elif not timedelta(0) < hold <= LONGEST:
        problems.append(Problem(name, f"must be more than nothing and at most {LONGEST.days} days"))
    action = given.get("on_finish_action", "delete_pod")
    if action in ("keep_pod", "delete_active_pod"):
        problems.append(
            Problem(
                name, f"has no end with on_finish_action={action}, which keeps pods for good; leave one out"
            )
        )
    if given.get("random_name_suffix") is False:
        problems.append(
            Problem(
                name,
                "cannot be given with random_name_suffix=False: the next try's pod would find its name taken",
            )
        )


def known_pod(
    given: Mapping[str, Any],
    *,
    whole: bool = True,
    identity: TaskIdentity = _ANYBODY,
    template: Object | None = None,
    transport: str = "sidecar",
    fields: Sequence[str] = TEMPLATE_FIELDS,
) -> KnownPod:
    """Build the pod of all that is known now; what is rendered later is left out. `template` is `pod_template_file`, read.

    Raises InvalidInputError by parameter.
    """
    known: dict[str, Any] = {}
    later: set[str] = set() if whole else {"*"}
    for row in parameters_of("pod"):
        if row.name not in given or (row.name == "pod_template_file" and template is not None):
            continue
        if row.name == "pod_template_file":
            later |= {row.name} if given[row.name] else set()
            continue
        try:
            value = encode(given[row.name])
        except InvalidInputError:
            later.add(row.name)
            continue
        if _has_references(value) or (row.name in fields and has_templates(value)):
            later.add(row.name)
        else:
            known[row.name] = plain(revive(value))
    if later & {*_DECLARES_VOLUMES, "*"}:
        # Whoever mounts a volume that is rendered later would seem to mount none.
        for name in _MOUNTS_VOLUMES:
            known.pop(name, None)
    if later:
        known["random_name_suffix"] = True
        if not known.get("image"):
            known["image"] = LATER
    around = Surroundings(identity=identity, template=template, transport=transport)
    return KnownPod(build_named(known, around).pod, frozenset(later))


def _has_references(value: Any) -> bool:
    if isinstance(value, dict):
        if value.get(MARK) in ("xcom", "group"):
            return True
        return any(_has_references(each) for each in value.values())
    return isinstance(value, list) and any(_has_references(each) for each in value)
