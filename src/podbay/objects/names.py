"""The rules for names, keys and small numbers, each as a function that lists what is wrong in the API's own words.

An empty list means valid. Not for paths or field errors (apiserver/field.py). Source:
k8s.io/apimachinery/pkg/util/validation and pkg/api/validate/content. Lengths are counted in bytes of UTF-8.
"""

from __future__ import annotations

import ipaddress
import re

from podbay.objects.quoting import go_quote

__all__ = [
    "c_identifier_errors",
    "cidr_errors",
    "config_map_key_errors",
    "dns1035_label_errors",
    "dns1123_label_errors",
    "dns1123_subdomain_errors",
    "env_var_name_errors",
    "group_id_errors",
    "http_header_name_errors",
    "in_range_errors",
    "ip_errors",
    "label_value_errors",
    "masked_prefix",
    "path_segment_name_errors",
    "path_segment_prefix_errors",
    "percent_errors",
    "port_name_errors",
    "port_number_errors",
    "qualified_name_errors",
    "regex_error",
    "relaxed_env_var_name_errors",
    "strict_ip_errors",
    "user_id_errors",
    "wildcard_dns1123_subdomain_errors",
]

_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN = _LABEL + r"(\." + _LABEL + ")*"
_LABEL_1035 = "[a-z]([-a-z0-9]*[a-z0-9])?"
_WILDCARD = r"\*\." + _SUBDOMAIN
_KEY = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_LABEL_VALUE = f"({_KEY})?"
_C_IDENTIFIER = "[A-Za-z_][A-Za-z0-9_]*"
_HTTP_HEADER = "[-A-Za-z0-9]+"
_ENV_VAR = "[-._a-zA-Z][-._a-zA-Z0-9]*"
_CONFIG_KEY = "[-._a-zA-Z0-9]+"
_PERCENT = "[0-9]+%"

_LABEL_MAX = 63
_SUBDOMAIN_MAX = 253
_MAX_ID = 2**31 - 1

_KEY_MESSAGE = (
    "must consist of alphanumeric characters, '-', '_' or '.', "
    "and must start and end with an alphanumeric character"
)
_RELAXED_ENV_MESSAGE = (
    "a valid environment variable name must consist only of printable ASCII characters other than '='"
)


def regex_error(message: str, pattern: str, *examples: str) -> str:
    """A message that ends with examples and the pattern, punctuated as the API does."""
    if not examples:
        return f"{message} (regex used for validation is '{pattern}')"
    listed = " or ".join(f"'{example}', " for example in examples)
    return f"{message} (e.g. {listed}regex used for validation is '{pattern}')"


def _too_long(value: str, maximum: int, unit: str) -> list[str]:
    return [f"must be no more than {maximum} {unit}"] if len(value.encode()) > maximum else []


def _matches(pattern: str, value: str) -> bool:
    return re.fullmatch(pattern, value) is not None


def masked_prefix(name: str) -> str:
    """A generateName as its rule sees it: a dash at the end is fine, something will follow it."""
    return name[:-2] + "a" if len(name) > 1 and name.endswith("-") else name


def dns1123_label_errors(value: str) -> list[str]:
    """A lower-case DNS label (RFC 1123), at most 63 characters."""
    errors = _too_long(value, _LABEL_MAX, "characters")
    if not _matches(_LABEL, value):
        if _matches(_SUBDOMAIN, value):
            errors.append("must not contain dots")
        else:
            message = (
                "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', "
                "and must start and end with an alphanumeric character"
            )
            errors.append(regex_error(message, _LABEL, "my-name", "123-abc"))
    return errors


def dns1123_subdomain_errors(value: str) -> list[str]:
    """A lower-case DNS name (RFC 1123), at most 253 characters."""
    return _subdomain_errors(value, "characters")


def _subdomain_errors(value: str, unit: str) -> list[str]:
    errors = _too_long(value, _SUBDOMAIN_MAX, unit)
    if not _matches(_SUBDOMAIN, value):
        message = (
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', "
            "and must start and end with an alphanumeric character"
        )
        errors.append(regex_error(message, _SUBDOMAIN, "example.com"))
    return errors


def dns1035_label_errors(value: str) -> list[str]:
    """A DNS label that starts with a letter (RFC 1035), at most 63 characters."""
    errors = _too_long(value, _LABEL_MAX, "characters")
    if not _matches(_LABEL_1035, value):
        message = (
            "a DNS-1035 label must consist of lower case alphanumeric characters or '-', "
            "start with an alphabetic character, and end with an alphanumeric character"
        )
        errors.append(regex_error(message, _LABEL_1035, "my-name", "abc-123"))
    return errors


def wildcard_dns1123_subdomain_errors(value: str) -> list[str]:
    """A DNS name whose first label is `*`."""
    errors = _too_long(value, _SUBDOMAIN_MAX, "characters")
    if not _matches(_WILDCARD, value):
        message = (
            "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, "
            "which must consist of lower case alphanumeric characters, '-' or '.' "
            "and end with an alphanumeric character"
        )
        errors.append(regex_error(message, _WILDCARD, "*.example.com"))
    return errors


def qualified_name_errors(value: str) -> list[str]:
    """A label key: a name, optionally after a DNS name and a slash."""
    parts = value.split("/")
    key_error = regex_error(_KEY_MESSAGE, _KEY, "MyName", "my.name", "123-abc")
    if len(parts) > 2:
        suffix = " with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
        return [f"a valid label key {key_error}{suffix}"]
    errors: list[str] = []
    name = parts[-1]
    if len(parts) == 2:
        prefix = parts[0]
        found = _subdomain_errors(prefix, "bytes") if prefix else ["must be non-empty"]
        errors += [f"prefix part {message}" for message in found]
    if not name:
        errors.append("name part must be non-empty")
    else:
        errors += [f"name part {message}" for message in _too_long(name, _LABEL_MAX, "bytes")]
    if not _matches(_KEY, name):
        errors.append(f"name part {key_error}")
    return errors


def label_value_errors(value: str) -> list[str]:
    """A label's value: empty, or at most 63 bytes of a narrow alphabet."""
    errors = _too_long(value, _LABEL_MAX, "bytes")
    if not _matches(_LABEL_VALUE, value):
        message = f"a valid label must be an empty string or {_KEY_MESSAGE.removeprefix('must ')}"
        errors.append(regex_error(message, _LABEL_VALUE, "MyValue", "my_value", "12345"))
    return errors


def env_var_name_errors(value: str) -> list[str]:
    """An environment variable name under the older, narrower rule."""
    errors: list[str] = []
    if not _matches(_ENV_VAR, value):
        message = (
            "a valid environment variable name must consist of alphabetic characters, digits, '_', '-', or '.', "
            "and must not start with a digit"
        )
        errors.append(regex_error(message, _ENV_VAR, "my.env-name", "MY_ENV.NAME", "MyEnvName1"))
    return errors + _dots_errors(value)


def relaxed_env_var_name_errors(value: str) -> list[str]:
    """An environment variable name: printable ASCII without `=` (the rule since Kubernetes 1.32)."""
    errors: list[str] = []
    if not value:
        errors.append("environment variable name must be non-empty")
    if any(not " " <= ch <= "~" or ch == "=" for ch in value):
        errors.append(_RELAXED_ENV_MESSAGE)
    return errors


def config_map_key_errors(value: str) -> list[str]:
    """A key of a ConfigMap or Secret, usable as a file name."""
    errors = _too_long(value, _SUBDOMAIN_MAX, "characters")
    if not _matches(_CONFIG_KEY, value):
        message = "a valid config key must consist of alphanumeric characters, '-', '_' or '.'"
        errors.append(regex_error(message, _CONFIG_KEY, "key.name", "KEY_NAME", "key-name"))
    return errors + _dots_errors(value)


def _dots_errors(value: str) -> list[str]:
    if value in (".", ".."):
        return [f"must not be '{value}'"]
    return ["must not start with '..'"] if value.startswith("..") else []


def c_identifier_errors(value: str) -> list[str]:
    if _matches(_C_IDENTIFIER, value):
        return []
    message = (
        "a valid C identifier must start with alphabetic character or '_', "
        "followed by a string of alphanumeric characters or '_'"
    )
    return [regex_error(message, _C_IDENTIFIER, "my_name", "MY_NAME", "MyName")]


def http_header_name_errors(value: str) -> list[str]:
    if _matches(_HTTP_HEADER, value):
        return []
    message = "a valid HTTP header must consist of alphanumeric characters or '-'"
    return [regex_error(message, _HTTP_HEADER, "X-Header-Name")]


def percent_errors(value: str) -> list[str]:
    if _matches(_PERCENT, value):
        return []
    message = "a valid percent string must be a numeric string followed by an ending '%'"
    return [regex_error(message, _PERCENT, "1%", "93%")]


def in_range_errors(value: int, low: int, high: int) -> list[str]:
    return [] if low <= value <= high else [f"must be between {low} and {high}, inclusive"]


def port_number_errors(port: int) -> list[str]:
    return in_range_errors(port, 1, 65535)


def group_id_errors(gid: int) -> list[str]:
    return in_range_errors(gid, 0, _MAX_ID)


def user_id_errors(uid: int) -> list[str]:
    return in_range_errors(uid, 0, _MAX_ID)


def port_name_errors(port: str) -> list[str]:
    """An IANA service name: at most 15 of a-z, 0-9 and single hyphens, one letter at least."""
    errors = _too_long(port, 15, "characters")
    if not _matches("[-a-z0-9]+", port):
        errors.append("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)")
    if not re.search("[a-z]", port):
        errors.append("must contain at least one letter (a-z)")
    if "--" in port:
        errors.append("must not contain consecutive hyphens")
    if port.startswith("-") or port.endswith("-"):
        errors.append("must not begin or end with a hyphen")
    return errors


def path_segment_name_errors(name: str) -> list[str]:
    """A name that can stand as one segment of a URL path. Empty names pass."""
    if name in (".", ".."):
        return [f"may not be '{name}'"]
    return path_segment_prefix_errors(name)


def path_segment_prefix_errors(name: str) -> list[str]:
    """Like path_segment_name_errors for the beginning of a generated name."""
    return [f"may not contain '{part}'" for part in ("/", "%") if part in name]


def ip_errors(value: str) -> list[str]:
    """An IP address in a field older than strict parsing; leading zeros and IPv4-in-IPv6 are still refused."""
    sloppy = _without_leading_zeros(value)
    try:
        address = ipaddress.ip_address(sloppy)
    except ValueError:
        return ["must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"]
    if "%" in value:
        return ["must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"]
    if sloppy != value:
        return ["must not have leading 0s"]
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return ["must not be an IPv4-mapped IPv6 address"]
    return []


def strict_ip_errors(value: str) -> list[str]:
    """An IP address in canonical spelling."""
    errors = ip_errors(value)
    if errors:
        return errors
    canonical = str(ipaddress.ip_address(value))
    return [] if canonical == value else [f"must be in canonical form ({go_quote(canonical)})"]


def cidr_errors(value: str) -> list[str]:
    """A network in CIDR notation without bits beyond its prefix."""
    wrong = ["must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"]
    host, slash, length = value.partition("/")
    if not slash or not length.isascii() or not length.isdigit():
        return wrong
    sloppy = _without_leading_zeros(host)
    try:
        interface = ipaddress.ip_interface(f"{sloppy}/{int(length)}")
    except ValueError:
        return wrong
    if sloppy != host or str(int(length)) != length:
        return ["must not have leading 0s in IP or prefix length"]
    if isinstance(interface.ip, ipaddress.IPv6Address) and interface.ip.ipv4_mapped is not None:
        return ["must not have an IPv4-mapped IPv6 address"]
    if interface.ip != interface.network.network_address:
        return ["must not have bits set beyond the prefix length"]
    return []


def _without_leading_zeros(value: str) -> str:
    """IPv4 octets with their leading zeros dropped, as lenient parsers read them; other text unchanged."""
    head, colon, quad = value.rpartition(":")
    octets = quad.split(".")
    if len(octets) != 4 or not all(octet.isascii() and octet.isdigit() for octet in octets):
        return value
    return head + colon + ".".join(str(int(octet)) for octet in octets)
