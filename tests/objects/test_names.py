"""The wording of bad names; the full sentences come from recorded answers of a real cluster."""

from __future__ import annotations

import pytest

from podbay.objects import names


def test_subdomain() -> None:
    assert names.dns1123_subdomain_errors("a.b-c.0") == []
    assert names.dns1123_subdomain_errors("a" * 254) == ["must be no more than 253 characters"]
    assert names.dns1123_subdomain_errors("a..b") == [
        "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must "
        "start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
        r"'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
    ]
    assert names.dns1123_subdomain_errors("a\n") != []


def test_label_with_dots_gets_a_shorter_answer() -> None:
    assert names.dns1123_label_errors("a.b") == ["must not contain dots"]
    assert names.dns1123_label_errors("0") == []
    assert names.dns1035_label_errors("0")[0].startswith("a DNS-1035 label must consist of")


def test_label_value() -> None:
    assert names.label_value_errors("") == []
    assert names.label_value_errors("x" * 64) == ["must be no more than 63 bytes"]
    assert names.label_value_errors("b c") == [
        "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must "
        "start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for "
        "validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
    ]


def test_qualified_name() -> None:
    assert names.qualified_name_errors("example.com/a_b") == []
    assert names.qualified_name_errors("a b") == [
        "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an "
        "alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is "
        "'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
    ]
    assert names.qualified_name_errors("/a") == ["prefix part must be non-empty"]
    assert names.qualified_name_errors("a/")[0] == "name part must be non-empty"
    assert names.qualified_name_errors("x" * 64) == ["name part must be no more than 63 bytes"]
    assert len(names.qualified_name_errors("a/b/c")) == 1


def test_environment_variables() -> None:
    assert names.relaxed_env_var_name_errors("1 weird-NAME") == []
    assert names.relaxed_env_var_name_errors("a=b") == [
        "a valid environment variable name must consist only of printable ASCII characters other than '='"
    ]
    assert names.env_var_name_errors("1a") != []


def test_config_map_key() -> None:
    assert names.config_map_key_errors("..") == ["must not be '..'"]
    assert names.config_map_key_errors("..a") == ["must not start with '..'"]
    assert names.config_map_key_errors("a/b") == [
        "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or "
        "'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')"
    ]


def test_ports() -> None:
    assert names.port_number_errors(70000) == ["must be between 1 and 65535, inclusive"]
    assert names.port_name_errors("http") == []
    assert names.port_name_errors("-1--2") == [
        "must contain at least one letter (a-z)",
        "must not contain consecutive hyphens",
        "must not begin or end with a hyphen",
    ]


@pytest.mark.parametrize(
    ("address", "messages"),
    [
        ("10.0.0.1", []),
        ("2001:db8::1", []),
        ("nope", ["must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"]),
        ("010.0.0.1", ["must not have leading 0s"]),
        ("::ffff:1.2.3.4", ["must not be an IPv4-mapped IPv6 address"]),
    ],
)
def test_addresses(address: str, messages: list[str]) -> None:
    assert names.ip_errors(address) == messages


def test_networks() -> None:
    assert names.cidr_errors("10.0.0.0/8") == []
    assert names.cidr_errors("10.0.0.1/8") == ["must not have bits set beyond the prefix length"]
    assert names.cidr_errors("10.0.0.0/08") == ["must not have leading 0s in IP or prefix length"]
    assert names.cidr_errors("10.0.0.0") == [
        "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"
    ]
