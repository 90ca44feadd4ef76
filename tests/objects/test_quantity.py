"""Quantities: Kubernetes' own examples, and the round trip for everything that parses."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podbay.objects.quantity import Quantity

FORMAT_WRONG = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("0", "0"),
        ("0.0", "0"),
        ("00", "0"),
        ("0.5", "500m"),
        ("1024Mi", "1Gi"),
        ("1.5Gi", "1536Mi"),
        ("1e3", "1e3"),
        ("1E3", "1E3"),
        ("1000e3", "1e6"),
        ("1000", "1k"),
        ("1000m", "1"),
        ("1100M", "1100M"),
        ("0.0001", "100u"),
        ("100e-10", "10e-9"),
        ("0.1Ki", "102400m"),
        ("0.5Mi", "512Ki"),
        ("1Ki", "1Ki"),
        ("1023Ki", "1023Ki"),
        ("-1.5", "-1500m"),
        ("-2048Ki", "-2Mi"),
        (".5", "500m"),
        ("5.", "5."),
        ("1.500", "1.500"),
        ("+5", "+5"),
        ("100Ei", "9223372036854775807"),
        ("0.000000000001", "1n"),
        ("100000000000000000000", "100E"),
        ("1000E", "1000E"),
    ],
)
def test_prints_the_canonical_form(text: str, printed: str) -> None:
    assert str(Quantity.parse(text)) == printed


@pytest.mark.parametrize("text", ["", "lots", "1Q", "1 ", "1..2", "0x10", "1Ki5Mi"])
def test_refuses_what_is_not_a_quantity(text: str) -> None:
    with pytest.raises(ValueError) as caught:
        Quantity.parse(text)
    assert str(caught.value) == FORMAT_WRONG


@pytest.mark.parametrize("text", ["1mm", "1e", "1-5", "--1", "1Kim", "1ee5"])
def test_refuses_unknown_suffixes(text: str) -> None:
    with pytest.raises(ValueError, match=r"^unable to parse quantity's suffix$"):
        Quantity.parse(text)


def test_refuses_numbers_that_would_eat_the_machine() -> None:
    for text in ("1e999999999", "1e-999999999", "9" * 5000):
        with pytest.raises(ValueError, match=r"^unable to parse numeric part of quantity$"):
            Quantity.parse(text)


def test_rounds_away_from_zero() -> None:
    assert Quantity.parse("0.1").value() == 1
    assert Quantity.parse("-0.1").value() == -1
    assert Quantity.parse("0.0001").milli_value() == 1
    assert str(Quantity.parse("0.0001").rounded_up()) == "1m"
    assert str(Quantity.parse("1.500").rounded_up()) == "1.500"


def test_compares_by_value_alone() -> None:
    assert Quantity.parse("1Gi") == Quantity.parse("1073741824")
    assert hash(Quantity.parse("1Gi")) == hash(Quantity.parse("1073741824"))
    assert Quantity.parse("999m") < Quantity.parse("1")
    assert Quantity.parse("1") != "1"


def test_zero_takes_the_form_of_what_is_added() -> None:
    assert str(Quantity(0) + Quantity.parse("2Gi")) == "2Gi"
    assert str(Quantity.parse("1Gi") + Quantity.parse("1024M")) == "2048576Ki"
    assert str(Quantity.parse("1Gi") - Quantity.parse("1Gi")) == "0"
    assert str(Quantity.from_value(2048, "BinarySI")) == "2Ki"
    assert str(Quantity.from_value(1023, "BinarySI")) == "1023"


def test_reads_bare_json_numbers() -> None:
    assert str(Quantity.from_json(2)) == "2"
    assert str(Quantity.from_json(0.5)) == "500m"
    assert str(Quantity.from_json(" 1Gi ")) == "1Gi"
    assert Quantity.from_json(None).is_zero


suffixes = st.sampled_from(
    [
        "",
        "n",
        "u",
        "m",
        "k",
        "M",
        "G",
        "T",
        "P",
        "E",
        "Ki",
        "Mi",
        "Gi",
        "Ti",
        "Pi",
        "Ei",
        "e3",
        "e-2",
        "E5",
        "e+1",
    ]
)
texts = st.builds(
    lambda sign, whole, fraction, suffix: f"{sign}{whole}{fraction}{suffix}",
    st.sampled_from(["", "-", "+"]),
    st.integers(0, 10**24).map(str),
    st.one_of(st.just(""), st.just("."), st.integers(0, 10**12).map(lambda n: f".{n}")),
    suffixes,
)


@given(texts)
def test_parsing_what_was_printed_gives_the_same_quantity(text: str) -> None:
    quantity = Quantity.parse(text)
    printed = Quantity.parse(str(quantity))
    assert printed == quantity
    assert str(printed) == str(quantity)


@given(st.integers(-(10**17), 10**17), st.sampled_from([("m", -3), ("", 0), ("k", 3), ("G", 9)]))
def test_is_exact_above_a_nano(number: int, suffix: tuple[str, int]) -> None:
    quantity = Quantity.parse(f"{number}{suffix[0]}")
    assert Fraction(quantity.nanos, 10**9) == number * Fraction(10) ** suffix[1]


@given(texts, texts)
def test_addition_and_subtraction_undo_each_other(first: str, second: str) -> None:
    a, b = Quantity.parse(first), Quantity.parse(second)
    assert (a + b) - b == a
    assert (a < b) == (b > a)


@given(st.text(max_size=12))
def test_any_text_parses_or_is_refused_in_words(text: str) -> None:
    try:
        quantity = Quantity.parse(text)
    except ValueError as error:
        assert "quantit" in str(error)
    else:
        assert Quantity.parse(str(quantity)) == quantity
