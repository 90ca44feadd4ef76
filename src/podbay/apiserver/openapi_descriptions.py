"""Descriptions of fields for `kubectl explain`, read out of the client library that is installed anyway.

The models of kubernetes_asyncio carry every description as the docstring of a property. Their text is read when an
OpenAPI document is built; the models are never imported (that would cost tens of megabytes), and nothing is kept.
Where the library, the model or the field is absent there is no description.
"""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Final

from podbay.apiserver.schema.types import Struct

__all__ = ["Descriptions"]

_PACKAGE: Final = "kubernetes_asyncio"
_NOISE: Final = "  # noqa: E501"
_ATTRIBUTE_MAP: Final = re.compile(r"attribute_map = \{(.*?)\n    \}", re.S)
_ATTRIBUTE: Final = re.compile(r"'(\w+)': '([^']+)'")
_GETTER: Final = re.compile(r'"""Gets the (\w+) of this \w+\.(.*?)\n *:return:', re.S)


class Descriptions:
    """A look into the model files; make one for each document and drop it."""

    def __init__(self, directory: Path | None = None) -> None:
        """directory holds the model files; the installed library's when None."""
        directory = directory or _models_directory()
        paths = directory.glob("*.py") if directory is not None and directory.is_dir() else ()
        self._files = {path.stem.replace("_", ""): path for path in paths}

    def of(self, struct: Struct) -> dict[str, str]:
        """JSON field name -> description, for the fields that have one."""
        path = self._file(struct)
        return {} if path is None else _read(path)

    def _file(self, struct: Struct) -> Path | None:
        package, _, name = struct.key.rpartition(".")
        group, _, version = package.partition("/")
        for stem in (f"{group}{version}{name}", f"{version}{name}"):
            found = self._files.get(stem.lower())
            if found is not None:
                return found
        return None


def _models_directory() -> Path | None:
    spec = importlib.util.find_spec(_PACKAGE)  # finds the package without running it
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(spec.submodule_search_locations[0]) / "client" / "models"


def _read(path: Path) -> dict[str, str]:
    text = path.read_text(encoding="utf-8")
    block = _ATTRIBUTE_MAP.search(text)
    json_names = dict(_ATTRIBUTE.findall(block[1])) if block else {}
    out = {}
    for name, description in _GETTER.findall(text):
        cleaned = _clean(description)
        if cleaned and name in json_names:
            out[json_names[name]] = cleaned
    return out


def _clean(description: str) -> str:
    plain = description.replace(_NOISE, "").replace('\\"', '"').replace("\\\\", "\\")
    return "\n".join(line.removeprefix("        ") for line in plain.split("\n")).strip()
