"""Resource quantities ("500m", "1Gi", "1e3"): exact numbers that remember how they were written.

Not for resource lists or arithmetic over them. Source: k8s.io/apimachinery/pkg/api/resource/{quantity,suffix}.go,
including its habits: parts below a nano are rounded up away from zero, binary values are capped at 2^63-1, and a
text that needs no adjusting is printed as it came. Two deliberate differences, both on absurd input: values beyond
the last suffix keep it ("1000E") where Go drops it, and exponents above 1000 are refused.
"""

from __future__ import annotations

from functools import lru_cache, total_ordering
from typing import Literal, TypeAlias

__all__ = ["Format", "Quantity"]

Format: TypeAlias = Literal["DecimalSI", "BinarySI", "DecimalExponent"]

_SPLIT_REGEX = "^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$"
_FORMAT_WRONG = f"quantities must match the regular expression '{_SPLIT_REGEX}'"
_NUMERIC = "unable to parse numeric part of quantity"
_SUFFIX = "unable to parse quantity's suffix"

_NANO = 10**9
_MAX_BINARY = (2**63 - 1) * _NANO
_MAX_INT64_DIGITS = 18
_MAX_EXPONENT = 1000
_MAX_DIGITS = 4000
_DIGITS = frozenset("0123456789")
_SUFFIX_LETTERS = frozenset("eEinumkKMGTP")

_DECIMAL_SUFFIXES = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY_SUFFIXES = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}
_DECIMAL_NAMES = {exponent: suffix for suffix, exponent in _DECIMAL_SUFFIXES.items()}
_BINARY_NAMES = {exponent: suffix for suffix, exponent in _BINARY_SUFFIXES.items()}


@total_ordering
class Quantity:
    """An immutable number of nanos with a form (how to print it). Equality, order and hash look at the number alone."""

    __slots__ = ("_nanos", "_text", "form")

    def __init__(self, nanos: int, form: Format = "DecimalSI", *, text: str = "") -> None:
        """nanos is the value times 10^9; text is the spelling to keep, empty for the canonical one."""
        self._nanos = nanos
        self._text = text
        self.form: Format = form

    @classmethod
    def parse(cls, text: str) -> Quantity:
        """Read a quantity; raises ValueError with the words of the Kubernetes API."""
        return _parse_cached(text) if len(text) <= 64 else _parse(text)

    @classmethod
    def from_json(cls, value: str | int | float | None) -> Quantity:
        """Read a quantity as it stands in a manifest: a string with or without blanks around it, or a bare number."""
        if value is None:
            return cls(0)
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        return cls.parse(str(value).strip())

    @classmethod
    def from_value(cls, value: int, form: Format = "DecimalSI") -> Quantity:
        """A whole number of units."""
        return cls(value * _NANO, form)

    @classmethod
    def from_milli(cls, value: int, form: Format = "DecimalSI") -> Quantity:
        """A whole number of thousandths."""
        return cls(value * (_NANO // 1000), form)

    def value(self) -> int:
        """Whole units, rounded away from zero."""
        return _divide_up(self._nanos, _NANO)

    def milli_value(self) -> int:
        """Thousandths, rounded away from zero."""
        return _divide_up(self._nanos, _NANO // 1000)

    def as_float(self) -> float:
        """The nearest float, for ratios and display."""
        return self._nanos / _NANO

    @property
    def nanos(self) -> int:
        """The exact value times 10^9."""
        return self._nanos

    @property
    def is_zero(self) -> bool:
        return self._nanos == 0

    @property
    def sign(self) -> int:
        """-1, 0 or 1."""
        return (self._nanos > 0) - (self._nanos < 0)

    def rounded_up(self, exponent: int = -3) -> Quantity:
        """The same value with nothing finer than 10^exponent, rounded away from zero; itself when nothing is."""
        step = 10 ** (9 + exponent)
        if self._nanos % step == 0:
            return self
        return Quantity(_divide_up(self._nanos, step) * step, self.form)

    def __add__(self, other: Quantity) -> Quantity:
        return Quantity(self._nanos + other._nanos, other.form if self.is_zero else self.form)

    def __sub__(self, other: Quantity) -> Quantity:
        return Quantity(self._nanos - other._nanos, other.form if self.is_zero else self.form)

    def __mul__(self, factor: int) -> Quantity:
        return Quantity(self._nanos * factor, self.form)

    def __neg__(self) -> Quantity:
        return Quantity(-self._nanos, self.form)

    def __eq__(self, other: object) -> bool:
        return self._nanos == other._nanos if isinstance(other, Quantity) else NotImplemented

    def __lt__(self, other: Quantity) -> bool:
        return self._nanos < other._nanos

    def __hash__(self) -> int:
        return hash(self._nanos)

    def __bool__(self) -> bool:
        return self._nanos != 0

    def __str__(self) -> str:
        return self._text or _canonical(self._nanos, self.form)

    def __repr__(self) -> str:
        return f"Quantity({str(self)!r})"


def _divide_up(number: int, step: int) -> int:
    return -(-number // step) if number > 0 else number // step


def _canonical(nanos: int, form: Format) -> str:
    if nanos == 0:
        return "0"
    if form == "BinarySI" and abs(nanos) >= 1024 * _NANO and nanos % _NANO == 0:
        return _canonical_binary(nanos // _NANO)
    mantissa, exponent = nanos, -9
    while mantissa % 1000 == 0 and (form == "DecimalExponent" or exponent < 18):
        mantissa //= 1000
        exponent += 3
    if form == "DecimalExponent":
        return f"{mantissa}e{exponent}" if exponent else str(mantissa)
    return f"{mantissa}{_DECIMAL_NAMES[exponent]}"


def _canonical_binary(value: int) -> str:
    exponent = 0
    while value % 1024 == 0 and exponent < 60:
        value //= 1024
        exponent += 10
    return f"{value}{_BINARY_NAMES.get(exponent, '')}"


@lru_cache(maxsize=4096)
def _parse_cached(text: str) -> Quantity:
    return _parse(text)


def _parse(text: str) -> Quantity:
    if not text:
        raise ValueError(_FORMAT_WRONG)
    if text == "0":
        return Quantity(0, text="0")
    number, whole, fraction, suffix = _scan(text)
    base, exponent, form = _interpret(suffix)
    if len(whole) + len(fraction) > _MAX_DIGITS or abs(exponent) > _MAX_EXPONENT:
        raise ValueError(_NUMERIC)
    exact = _parse_exact(text, whole, fraction, exponent=exponent, form=form)
    if exact is not None:
        return exact
    return _parse_rounded(number, base=base, exponent=exponent, form=form)


def _scan(text: str) -> tuple[str, str, str, str]:
    """Split into the signed number, its digits before and after the point (no leading zeros), and the suffix."""
    end = len(text)
    pos = 1 if text[0] in "+-" else 0
    while pos < end and text[pos] == "0":
        pos += 1
    if pos == end:
        return "0", "0", "", ""
    start = pos
    while pos < end and text[pos] in _DIGITS:
        pos += 1
    whole = text[start:pos] or "0"
    fraction = ""
    if pos < end and text[pos] == ".":
        start = pos + 1
        pos = start
        while pos < end and text[pos] in _DIGITS:
            pos += 1
        fraction = text[start:pos]
    start = pos
    while pos < end and text[pos] in _SUFFIX_LETTERS:
        pos += 1
    if pos < end and text[pos] in "+-":
        pos += 1
    while pos < end and text[pos] in _DIGITS:
        pos += 1
    if pos < end:
        raise ValueError(_FORMAT_WRONG)
    return text[:start], whole, fraction, text[start:]


def _interpret(suffix: str) -> tuple[int, int, Format]:
    """(base, exponent, form) of a suffix."""
    decimal = _DECIMAL_SUFFIXES.get(suffix)
    if decimal is not None:
        return 10, decimal, "DecimalSI"
    binary = _BINARY_SUFFIXES.get(suffix)
    if binary is not None:
        return 2, binary, "BinarySI"
    if suffix[0] in "eE" and len(suffix) <= 20:
        digits = suffix[2:] if suffix[1:2] in ("+", "-") else suffix[1:]
        if digits and _DIGITS.issuperset(digits):
            return 10, int(suffix[1:]), "DecimalExponent"
    raise ValueError(_SUFFIX)


def _parse_exact(text: str, whole: str, fraction: str, *, exponent: int, form: Format) -> Quantity | None:
    """The value when an int64 and a scale of at least nano hold it; only then is a canonical spelling kept."""
    digits = whole + fraction
    scale = exponent - len(fraction)
    if form == "BinarySI":
        if fraction or 15 - len(whole) - exponent * 3 // 10 - 1 < 0:
            return None
        number = int(digits)
        nanos = (number << exponent) * _NANO
        keep = number & 7 != 0
    else:
        if len(digits) > _MAX_INT64_DIGITS or scale < -9:
            return None
        nanos = int(digits) * 10 ** (scale + 9)
        keep = scale % 3 == 0 and not digits.endswith("000") and digits[0] != "0"
    if text[0] == "-":
        nanos = -nanos
    return Quantity(nanos, form, text=text if keep else "")


def _parse_rounded(number: str, *, base: int, exponent: int, form: Format) -> Quantity:
    negative = number.startswith("-")
    whole, _, fraction = number.lstrip("+-").partition(".")
    if not whole and not fraction:
        raise ValueError(_NUMERIC)
    # The value is numerator / 10^places, in nanos.
    numerator = int(whole + fraction) * _NANO
    places = len(fraction)
    if base == 2:
        numerator <<= exponent
    elif exponent >= 0:
        numerator *= 10**exponent
    else:
        places -= exponent
    nanos = _divide_up(numerator, 10**places)
    if form == "BinarySI":
        nanos = min(nanos, _MAX_BINARY)
        if 0 < nanos < _NANO:
            form = "DecimalSI"
    return Quantity(-nanos if negative else nanos, form)
