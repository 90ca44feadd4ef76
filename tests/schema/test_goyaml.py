"""YAML bodies: what words mean to go-yaml, and its sentences."""

from __future__ import annotations

from typing import Any

import pytest

from podbay.apiserver.schema.decode import Target, decode
from podbay.apiserver.schema.goyaml import load
from podbay.apiserver.schema.types import Schema
from podbay.errors import ApiError

POD = Target("Pod", "v1", "io.k8s.api.core.v1.Pod")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("y", True),
        ("Off", False),
        ("oN", "oN"),
        ("~", None),
        ("", None),
        ("012", 10),
        ("0o12", 10),
        ("08", 8),
        ("0x1F", 31),
        ("0b11", 3),
        ("1_000", 1000),
        ("-5", -5),
        ("1e3", 1000),
        ("1.50", 1.5),
        ("190:20:30", "190:20:30"),
        ("2024-01-01", "2024-01-01"),
        ("2024-01-01T00:00:00Z", "2024-01-01T00:00:00Z"),
        ("18446744073709551615", 18446744073709551615),
        ("99999999999999999999999", 1e23),
        ("'yes'", "yes"),
        ("!!str 5", "5"),
        ("!!float 5", 5),
        ("=", "="),
        ("|\n  a\n  b\n", "a\nb\n"),
        ("[a, {b: c}]", ["a", {"b": "c"}]),
        ("{1: a, true: b, 1.5: c, z: d}", {"1": "a", "1.5": "c", "true": "b", "z": "d"}),
        ("a: &x {b: 1}\nc: *x", {"a": {"b": 1}, "c": {"b": 1}}),
        ("a: &x {b: 1, c: 2}\nd: {<<: *x, c: 3}", {"a": {"b": 1, "c": 2}, "d": {"b": 1, "c": 3}}),
        ("a: 1\n---\nb: 2", {"a": 1}),
    ],
)
def test_values(text: str, value: Any) -> None:
    read, duplicates = load(text.encode())
    assert read == value
    assert type(read) is type(value) or isinstance(value, int)
    assert duplicates == []


def test_keys_are_sorted_and_the_last_of_two_wins() -> None:
    read, duplicates = load(b"b: 1\na: 2\nb: 3\n")
    assert list(read.items()) == [("a", 2), ("b", 3)]
    assert duplicates == ['line 3: key "b" already set in map']


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a: b: c", "yaml: mapping values are not allowed in this context"),
        ("x: 1\na: b: c", "yaml: line 2: mapping values are not allowed in this context"),
        ("x: 1\ny: [a", "yaml: line 2: did not find expected ',' or ']'"),
        ("a: *b", "yaml: unknown anchor 'b' referenced"),
        ("a: &a [*a]", "yaml: anchor 'a' value contains itself"),
        ("\ta: 1", "yaml: found character that cannot start any token"),
        ("a: .nan", "json: unsupported value: NaN"),
        ("a: .inf", "json: unsupported value: +Inf"),
        ("a: \x01", "yaml: control characters are not allowed"),
    ],
)
def test_sentences(text: str, sentence: str) -> None:
    with pytest.raises(ValueError) as caught:
        load(text.encode())
    assert str(caught.value) == sentence


def refusal(text: str, **options: Any) -> str:
    with pytest.raises(ApiError) as caught:
        decode(Schema.load(), POD, text.encode(), media_type="yaml", **options)
    return caught.value.message


def test_bodies() -> None:
    assert refusal("a: b: c") == (
        "the object provided is unrecognized (must be of type Pod): "
        "yaml: mapping values are not allowed in this context (613a20623a2063)"
    )
    twice = "metadata: {name: a}\nspec:\n  bogus: 1\n  hostname: a\n  hostname: b\n"
    strict = refusal(twice, field_validation="Strict")
    assert strict == (
        'Pod in version "v1" cannot be handled as a Pod: strict decoding error: yaml: unmarshal errors:\n'
        '  line 5: key "hostname" already set in map, unknown field "spec.bogus"'
    )
    assert decode(Schema.load(), POD, b"", media_type="yaml").obj["spec"] == {"containers": None}
    assert decode(Schema.load(), POD, twice.encode(), media_type="yaml").obj["spec"]["hostname"] == "b"
