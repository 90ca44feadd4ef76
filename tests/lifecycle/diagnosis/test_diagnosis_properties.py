"""Whatever the facts hold: no exception, no value of an environment variable, nothing longer than a log line bears."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import orjson
import pytest
from diagnosis_cases import all_cases
from hypothesis import given, settings
from hypothesis import strategies as st

from podbay.errors import ApiError, CredentialError, InvalidInputError, PodbayError, UnreachableError
from podbay.lifecycle.diagnosis.catalog import by_word
from podbay.lifecycle.diagnosis.diagnose import diagnose, diagnoses
from podbay.lifecycle.diagnosis.model import Diagnosis, Facts, diagnosis_to_json

CASES = all_cases()
SECRET = 'hunter2-"quoted" {braces}'
OTHER = "first line\nsecond line of a key"

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.sampled_from(["", "{x}", "\0"])
)
junk = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of everything inside."""
    found = [path] if path else []
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in inner:
        found += places(each, (*path, key))
    return found


def put(value: Any, path: tuple[Any, ...], new: Any) -> None:
    for key in path[:-1]:
        value = value[key]
    value[path[-1]] = new


def check(found: list[Diagnosis]) -> str:
    for each in found:
        category = by_word()[each.category]
        assert (each.blame, each.heals) == (category.blame, category.heals)
        assert len(each.cause) <= 500
        assert len(each.fix) <= 500
        assert len(each.evidence) <= 6
        assert all(0 < len(line) <= 300 for line in each.evidence)
        assert each.cause.isprintable()
    return orjson.dumps([diagnosis_to_json(each) for each in found]).decode()


@settings(max_examples=400, deadline=None)
@given(data=st.data())
def test_damaged_facts_never_raise(data: st.DataObject) -> None:
    facts = data.draw(st.sampled_from(CASES)).facts()
    world: dict[str, Any] = copy.deepcopy(
        {"pod": facts.pod, "events": list(facts.events), "nodes": list(facts.nodes)}
    )
    for _ in range(data.draw(st.integers(1, 5))):
        path = data.draw(st.sampled_from(places(world)))
        put(world, path, data.draw(junk))
    check(diagnoses(replace(facts, pod=world["pod"], events=world["events"], nodes=world["nodes"])))


@settings(max_examples=200, deadline=None)
@given(
    pod=junk,
    events=st.lists(junk, max_size=3),
    nodes=st.lists(junk, max_size=2),
    context=st.dictionaries(
        st.sampled_from(["killed_by", "deadline", "deadline_seconds", "gone", "result"]), junk
    ),
)
def test_rubbish_never_raises(pod: Any, events: list[Any], nodes: list[Any], context: dict[str, Any]) -> None:
    check(diagnoses(Facts(pod=pod, events=events, nodes=nodes, context=context)))


ERRORS: list[Callable[[str], PodbayError]] = [
    *[
        lambda text, code=code: ApiError(code, "", text)
        for code in (400, 401, 403, 404, 409, 422, 429, 500, 503, 999)
    ],
    *[lambda text, kind=kind: UnreachableError(kind, text) for kind in ("dns", "tls", "broken", "new")],
    CredentialError,
    InvalidInputError,
    PodbayError,
]


@given(
    make=st.sampled_from(ERRORS),
    text=st.text()
    | st.sampled_from([c.data["error"][2] for c in CASES if isinstance(c.data.get("error"), list)]),
)
def test_errors_never_raise(make: Callable[[str], PodbayError], text: str) -> None:
    check(diagnoses(Facts(error=make(text))))


def with_secrets(facts: Facts) -> Facts:
    """The same facts, with environment variables whose values stand in every free text as well."""
    world: dict[str, Any] = copy.deepcopy({"pod": facts.pod, "events": list(facts.events)})
    said = f" {SECRET} {OTHER} {orjson.dumps(SECRET).decode()} "
    for path in places(world):
        value = world
        for key in path:
            value = value[key]
        if path[-1] == "message" and isinstance(value, str):
            put(world, path, said + value + said)
    pod = world["pod"]
    for field in ("initContainers", "containers"):
        for container in (pod or {}).get("spec", {}).get(field) or ():
            container["env"] = [{"name": "A", "value": SECRET}, {"name": "B", "value": OTHER}]
    error = facts.error
    if isinstance(error, ApiError):
        error = ApiError(error.code, error.reason, said + error.message + said, details=error.details)
    return replace(facts, pod=pod, events=world["events"], error=error)


@pytest.mark.parametrize(
    "case", [case for case in CASES if not case.data.get("no_pod")], ids=lambda case: case.id
)
def test_values_of_environment_variables_are_never_shown(case: Any) -> None:
    shown = check(diagnoses(with_secrets(case.facts())))
    for part in (SECRET, "hunter2", "second line of a key"):
        assert part not in shown


def test_a_value_that_is_wrong_itself_is_not_shown() -> None:
    field = "spec.containers[0].env[0].value"
    message = 'Invalid value: "hunter2": must be a string'
    details = {"causes": [{"field": field, "message": message}]}
    whole = f'Pod "p" is invalid: {field}: {message}'
    for error in (ApiError(422, "Invalid", whole, details=details), ApiError(422, "Invalid", whole)):
        found = diagnose(Facts(error=error))
        assert found is not None
        assert found.category == "InvalidPod"
        assert "hunter2" not in check([found])


def test_values_that_say_nothing_do_not_blank_a_sentence() -> None:
    pod = {
        "metadata": {"name": "load", "namespace": "etl"},
        "spec": {
            "restartPolicy": "Never",
            "containers": [
                {
                    "name": "base",
                    "image": "busybox",
                    "env": [{"name": v, "value": v} for v in ("1", "true", "etl", "base", "load")],
                }
            ],
        },
        "status": {
            "phase": "Failed",
            "containerStatuses": [{"name": "base", "state": {"terminated": {"exitCode": 1}}}],
        },
    }
    found = diagnose(Facts(pod=pod))
    assert found is not None
    assert found.cause == "Container base of pod etl/load ended with exit code 1"


def test_logins_in_addresses_are_not_shown() -> None:
    message = (
        "Head https://me:secret@registry.example.com/v2/?X-Sig=abcdef: Bearer abcdefghijklmnop: i/o timeout"
    )
    waiting = {"waiting": {"reason": "ErrImagePull", "message": message}}
    pod = {
        "spec": {"containers": [{"name": "base", "image": "a"}]},
        "status": {"containerStatuses": [{"name": "base", "state": waiting}]},
    }
    shown = check(diagnoses(Facts(pod=pod)))
    assert "RegistryUnreachable" in shown
    assert not any(word in shown for word in ("secret", "abcdef"))


def test_a_result_is_no_evidence() -> None:
    ended = {"exitCode": 1, "reason": "Error", "message": '{"salary": 12}'}
    main = {"name": "base", "image": "a", "terminationMessagePath": "/airflow/xcom/return.json"}
    status = {"phase": "Failed", "containerStatuses": [{"name": "base", "state": {"terminated": ended}}]}
    found = diagnoses(Facts(pod={"spec": {"restartPolicy": "Never", "containers": [main]}, "status": status}))
    assert [each.category for each in found] == ["ExitCode"]
    assert "salary" not in check(found)
