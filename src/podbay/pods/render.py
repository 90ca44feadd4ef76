"""A manifest as YAML that people read and `kubectl apply` takes, with what is secret masked.

Masked are: environment values under names that speak of secrets, values of command line options with such names,
passwords inside of URLs, and every text the caller knows to be secret, wherever it stands. Secrets by reference show
their names, which are not secret.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any, Final

import yaml

from podbay.objects.meta import Object

__all__ = ["MASK", "masked", "render"]

MASK: Final = "***"

# The words of Airflow's own secrets masker, and `credential`; matched anywhere in a name, without case and underscores.
_SENSITIVE: Final = re.compile(
    "accesstoken|apikey|authorization|credential|passphrase|passwd|password|privatekey|secret|token"
)
_URL_PASSWORD: Final = re.compile(r"(?<=://)([^\s/:@]*):([^\s@]+)(?=@)")
# Texts that YAML 1.1 or the API server's reader takes for a number, a date or a constant; PyYAML quotes only some.
_NOT_PLAIN: Final = re.compile(
    r"[-+.]?[0-9][-+0-9_.eExXoObBa-fA-F:TtZz ]*|y|n|yes|no|on|off|true|false|null|~|=|<<", re.IGNORECASE
)


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)


def _represent_str(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else '"' if _NOT_PLAIN.fullmatch(text) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _represent_str)


def render(pod: Object, *, secrets: Collection[str] = (), reveal: bool = False) -> str:
    """The manifest as one YAML document. `secrets` are texts to mask everywhere; `reveal` masks nothing."""
    shown = pod if reveal else masked(pod, secrets)
    text: str = yaml.dump(shown, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=1 << 30)
    return text


def masked(pod: Object, secrets: Collection[str] = ()) -> Object:
    """A copy of the manifest in which no secret is left."""
    # The longest first: a secret may contain another one.
    known = sorted((each for each in secrets if each), key=len, reverse=True)
    shown: Object = _masked(pod, known)
    spec = shown.get("spec") or {}
    for container in [*(spec.get("initContainers") or ()), *(spec.get("containers") or ())]:
        for variable in container.get("env") or ():
            if variable.get("value") and _is_sensitive(variable.get("name") or ""):
                variable["value"] = MASK
        for field in ("command", "args"):
            if container.get(field):
                container[field] = _masked_words(container[field])
    return shown


def _masked_words(words: list[str]) -> list[str]:
    """A command line without the values of options that speak of secrets: `--password=x`, `--token x`."""
    shown, hide = [], False
    for word in words:
        name, equals, value = word.partition("=")
        sensitive = word.startswith("-") and " " not in name and _is_sensitive(name)
        if hide and not word.startswith("-"):
            word = MASK
        elif sensitive and equals and value:
            word = f"{name}={MASK}"
        shown.append(word)
        hide = sensitive and not equals
    return shown


def _is_sensitive(name: str) -> bool:
    return _SENSITIVE.search(re.sub(r"[_\-.]", "", name).lower()) is not None


def _masked(value: Any, known: list[str]) -> Any:
    if isinstance(value, dict):
        return {key: _masked(each, known) for key, each in value.items()}
    if isinstance(value, list):
        return [_masked(each, known) for each in value]
    if isinstance(value, str):
        for secret in known:
            value = value.replace(secret, MASK)
        return _URL_PASSWORD.sub(rf"\1:{MASK}", value)
    return value
