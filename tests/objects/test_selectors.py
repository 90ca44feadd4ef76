"""Selectors against the recorded answers of a real cluster and against themselves."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podbay.objects.selectors import FieldSelector, LabelSelector

PODS = {"a1": {"app": "a1"}, "a2": {"app": "a2"}, "a3": {"app": "a3"}}


@pytest.mark.parametrize(
    ("text", "selected"),
    [
        ("", ["a1", "a2", "a3"]),
        ("app=a1", ["a1"]),
        ("app==a2", ["a2"]),
        ("app!=a1", ["a2", "a3"]),
        ("app in (a1,a2)", ["a1", "a2"]),
        ("app notin (a1)", ["a2", "a3"]),
        ("app,app!=a3", ["a1", "a2"]),
        ("!app", []),
        ("!other", ["a1", "a2", "a3"]),
        ("app>1", []),
        ("other notin (x)", ["a1", "a2", "a3"]),
        ("app=", []),
    ],
)
def test_selects_what_a_real_cluster_selects(text: str, selected: list[str]) -> None:
    selector = LabelSelector.parse(text)
    assert [name for name, labels in PODS.items() if selector.matches(labels)] == selected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a b", "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt"),
        ("app in a", "unable to parse requirement: found 'a' expected: '('"),
        ("=x", "found '=', expected: !, identifier, or 'end of string'"),
        ("a,,b", "found ',', expected: identifier after ','"),
        ("a=b c", "found 'c', expected: ',' or 'end of string'"),
        ("a=!b", "unable to parse requirement: found '!', expected: identifier"),
        ("a in (b c)", "unable to parse requirement: found 'c', expected: ',' or ')'"),
    ],
)
def test_refuses_in_the_words_of_a_real_cluster(text: str, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        LabelSelector.parse(text)
    assert str(caught.value) == message


def test_bad_keys_and_values_name_the_rule() -> None:
    with pytest.raises(
        ValueError, match=r'^unable to parse requirement: <nil>: Invalid value: "a/b/c": a valid label'
    ):
        LabelSelector.parse("a/b/c")
    with pytest.raises(
        ValueError, match=r'requirement: values\[0\]\[a\]: Invalid value: "b/": a valid label must'
    ):
        LabelSelector.parse("a=b/")
    with pytest.raises(ValueError, match="for 'Gt', 'Lt' operators, the value must be an integer"):
        LabelSelector.parse("a>b")


def test_numbers_compare_as_numbers() -> None:
    assert LabelSelector.parse("n>9").matches({"n": "10"})
    assert not LabelSelector.parse("n<9").matches({"n": "10"})


def test_keywords_may_be_values() -> None:
    selector = LabelSelector.parse("a in (in,notin)")
    assert selector.matches({"a": "in"})
    assert str(selector) == "a in (in,notin)"


def test_reads_selector_objects() -> None:
    assert not LabelSelector.from_object(None).matches({})
    assert LabelSelector.from_object({}).matches({})
    selector = LabelSelector.from_object(
        {
            "matchLabels": {"a": "1"},
            "matchExpressions": [
                {"key": "b", "operator": "NotIn", "values": ["x", "y"]},
                {"key": "c", "operator": "Exists"},
            ],
        }
    )
    assert str(selector) == "a=1,b notin (x,y),c"
    assert selector.matches({"a": "1", "c": ""})
    with pytest.raises(ValueError, match=r'^"Like" is not a valid label selector operator$'):
        LabelSelector.from_object({"matchExpressions": [{"key": "a", "operator": "Like"}]})


keys = st.from_regex(r"[a-z]([a-z.]{0,3}[a-z])?", fullmatch=True).filter(lambda k: k not in ("in", "notin"))
values = st.from_regex(r"([a-z0-9]{1,4})?", fullmatch=True)
terms = st.one_of(
    st.builds(lambda k, o, v: f"{k}{o}{v}", keys, st.sampled_from(["=", "==", "!="]), values),
    st.builds(
        lambda k, o, v: f"{k} {o} ({','.join(v)})",
        keys,
        st.sampled_from(["in", "notin"]),
        st.lists(values, min_size=1, max_size=3),
    ),
    keys,
    keys.map("!{}".format),
)


@given(st.lists(terms, max_size=4).map(",".join), st.dictionaries(keys, values, max_size=3))
def test_printing_and_parsing_keeps_the_meaning(text: str, labels: dict[str, str]) -> None:
    selector = LabelSelector.parse(text)
    again = LabelSelector.parse(str(selector))
    assert str(again) == str(selector)
    assert again.matches(labels) == selector.matches(labels)


def test_field_selectors() -> None:
    selector = FieldSelector.parse("status.phase!=Running,metadata.name=a")
    assert [(r.field, r.operator, r.value) for r in selector.requirements] == [
        ("metadata.name", "=", "a"),
        ("status.phase", "!=", "Running"),
    ]
    assert selector.matches({"metadata.name": "a"})
    assert not selector.matches({"metadata.name": "a", "status.phase": "Running"})
    assert selector.exact("metadata.name") == "a"
    assert selector.exact("status.phase") is None
    assert FieldSelector.parse("").empty


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nope", "invalid selector: 'nope'; can't understand 'nope'"),
        ("a=b=c", "invalid field selector: unescaped character in value: 61"),
        ("a=\\q", "invalid field selector: invalid escape sequence: \\q"),
        ("a=\\", "invalid field selector: invalid escape sequence: \\"),
    ],
)
def test_refuses_bad_field_selectors(text: str, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        FieldSelector.parse(text)
    assert str(caught.value) == message


@given(st.dictionaries(st.from_regex(r"[a-z.]{1,6}", fullmatch=True), st.text(max_size=6), max_size=3))
def test_any_field_value_survives_escaping(fields: dict[str, str]) -> None:
    escaped = {k: v.replace("\\", "\\\\").replace(",", "\\,").replace("=", "\\=") for k, v in fields.items()}
    selector = FieldSelector.parse(",".join(f"{k}={v}" for k, v in escaped.items()))
    assert {r.field: r.value for r in selector.requirements} == fields
    assert FieldSelector.parse(str(selector)) == selector
