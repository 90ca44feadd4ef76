"""Names and name resolution of a pod: dnsPolicy, dnsConfig, hostAliases, hostname.

Source: validateDNSPolicy, validatePodDNSConfig, ValidateHostAliases, validatePodHostName in
pkg/apis/core/validation/validation.go.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from podbay.apiserver.field import FieldError, Path, forbidden, invalid, required, too_long
from podbay.apiserver.kinds.pod_validation import rules
from podbay.objects import names

__all__ = ["dns_config_errors", "dns_policy_errors", "host_aliases_errors", "host_name_errors"]

_POLICIES = ("ClusterFirstWithHostNet", "ClusterFirst", "Default", "None")
_MOST_SERVERS = 3
_MOST_SEARCHES = 32
_SEARCHES_MAX = 2048
_HOST_NAME_MAX = 64
_SUBDOMAIN_MAX = 253
_SEARCH_LABEL = "_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?"
_SEARCH = rf"{_SEARCH_LABEL}(\.{_SEARCH_LABEL})*"
_SEARCH_WORDS = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '_', '-' or '.', "
    "and must start and end with an alphanumeric character"
)


def dns_policy_errors(path: Path, policy: str) -> list[FieldError]:
    return rules.one_of(path, policy, _POLICIES) if policy else [required(path)]


def dns_config_errors(path: Path, config: Mapping[str, Any] | None, policy: str) -> list[FieldError]:
    """`spec.dnsConfig`, which dnsPolicy None needs."""
    if policy == "None":
        if config is None:
            return [required(path, "must provide `dnsConfig` when `dnsPolicy` is None")]
        if not config.get("nameservers"):
            words = "must provide at least one DNS nameserver when `dnsPolicy` is None"
            return [required(path.child("nameservers"), words)]
    if config is None:
        return []
    errors: list[FieldError] = []
    servers: Sequence[str] = config.get("nameservers") or ()
    at = path.child("nameservers")
    if len(servers) > _MOST_SERVERS:
        errors.append(invalid(at, list(servers), f"must not have more than {_MOST_SERVERS} nameservers"))
    for i, server in enumerate(servers):
        errors += rules.each(at.index(i), server, names.ip_errors(server))
    errors += _search_errors(path.child("searches"), config.get("searches") or ())
    for i, option in enumerate(config.get("options") or ()):
        if not option.get("name"):
            errors.append(required(path.child("options").index(i), "must not be empty"))
    return errors


def _search_errors(path: Path, searches: Sequence[str]) -> list[FieldError]:
    errors: list[FieldError] = []
    if len(searches) > _MOST_SEARCHES:
        words = f"must not have more than {_MOST_SEARCHES} search paths"
        errors.append(invalid(path, list(searches), words))
    if len(" ".join(searches).encode()) > _SEARCHES_MAX:
        words = f"must not have more than {_SEARCHES_MAX} characters (including spaces) in the search list"
        errors.append(invalid(path, list(searches), words))
    for i, search in enumerate(searches):
        if search == ".":
            continue
        domain = search.removesuffix(".")
        if len(domain.encode()) > _SUBDOMAIN_MAX:
            errors.append(invalid(path.index(i), domain, f"must be no more than {_SUBDOMAIN_MAX} characters"))
        if re.fullmatch(_SEARCH, domain) is None:
            words = names.regex_error(_SEARCH_WORDS, _SEARCH, "example.com")
            errors.append(invalid(path.index(i), domain, words))
    return errors


def host_aliases_errors(path: Path, aliases: Sequence[Mapping[str, Any]]) -> list[FieldError]:
    """`spec.hostAliases`."""
    errors: list[FieldError] = []
    for i, alias in enumerate(aliases):
        at = path.index(i)
        address = alias.get("ip") or ""
        errors += rules.each(at.child("ip"), address, names.ip_errors(address))
        for j, host in enumerate(alias.get("hostnames") or ()):
            errors += rules.name(at.child("hostnames").index(j), host)
    return errors


def host_name_errors(path: Path, spec: Mapping[str, Any]) -> list[FieldError]:
    """`spec.hostnameOverride`, which goes together with neither other way to name the host. path is `spec`."""
    name = spec.get("hostnameOverride")
    if name is None:
        return []
    at = path.child("hostnameOverride")
    errors = []
    if spec.get("setHostnameAsFQDN"):
        errors.append(forbidden(at, "may not be specified when setHostnameAsFQDN is true"))
    if spec.get("hostNetwork"):
        errors.append(forbidden(at, "may not be specified when hostNetwork is true"))
    if len(name.encode()) > _HOST_NAME_MAX:
        errors.append(too_long(at, _HOST_NAME_MAX))
    return errors + rules.name(at, name)
