"""Objects as YAML, printed as sigs.k8s.io/yaml prints them: sorted keys, double quotes where a word would change.

Not for reading (goyaml.py). PyYAML's emitter is the same libyaml that go-yaml carries; only the choice of quotes
is made here, by go-yaml's rule.
"""

from __future__ import annotations

import re
from typing import Any, Final

import yaml

from podbay.apiserver.schema.goyaml import resolve

__all__ = ["to_yaml"]

_Base: Any = getattr(yaml, "CSafeDumper", None) or yaml.SafeDumper
_BASE60: Final = re.compile(r"[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?\Z")
_TIMESTAMP: Final = re.compile(
    r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}(?:(?:[Tt]|\s+)[0-9]{1,2}:[0-9]{1,2}:[0-9]{1,2}(?:\.[0-9]*)?"
    r"(?:\s*(?:Z|[-+][0-9]{1,2}(?::?[0-9]{2})?))?)?\Z"
)
_STR: Final = "tag:yaml.org,2002:str"


class _Dumper(_Base):  # type: ignore[misc]
    def ignore_aliases(self, data: Any) -> bool:
        return True


def _represent_str(dumper: Any, text: str) -> Any:
    if "\n" in text:
        style = "|"
    elif not isinstance(resolve(text), str) or _BASE60.match(text) or _TIMESTAMP.match(text) or text == "<<":
        style = '"'
    else:
        style = None
    return dumper.represent_scalar(_STR, text, style=style)


_Dumper.add_representer(str, _represent_str)


def to_yaml(obj: Any) -> bytes:
    """One YAML document."""
    return yaml.dump(
        obj, Dumper=_Dumper, allow_unicode=True, sort_keys=True, default_flow_style=False
    ).encode()
