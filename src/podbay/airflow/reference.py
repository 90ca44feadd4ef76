"""The operator's reference in docs/operator.md, made from the tables; a test compares it with the file.

python -m podbay.airflow.reference docs/operator.md      writes it anew
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from podbay.airflow.parameters import PARAMETERS, TEMPLATE_FIELDS, Parameter
from podbay.airflow.settings import OPTIONS

__all__ = ["parts", "updated"]

_TITLES = {
    "pod": "The pod",
    "cluster": "The cluster",
    "plan": "Patience and clean-up",
    "log": "The log",
    "task": "The task",
    "none": "Taken, without effect",
}


def parts() -> dict[str, str]:
    """Made texts by the name of their marker."""
    return {"parameters": "\n".join(_parameters()), "settings": "\n".join(_settings())}


def updated(page: str) -> str:
    """The page with every made text between its markers."""
    for name, text in parts().items():
        begin, end = f"<!-- {name}: made by podbay.airflow.reference -->", f"<!-- end of {name} -->"
        before, _, rest = page.partition(begin)
        _, _, after = rest.partition(end)
        page = f"{before}{begin}\n{text}\n{end}{after}"
    return page


def _parameters() -> Iterator[str]:
    ours = [row for row in PARAMETERS.values() if row.ours]
    yield from _table("Ours, not upstream's", ours)
    for part, title in _TITLES.items():
        yield from _table(title, [row for row in PARAMETERS.values() if row.part == part and not row.ours])


def _table(title: str, rows: list[Parameter]) -> Iterator[str]:
    yield f"\n### {title}\n"
    yield "| parameter | default | |"
    yield "|---|---|---|"
    for row in sorted(rows, key=lambda each: each.name):
        mark = " (template)" if row.name in TEMPLATE_FIELDS else ""
        yield f"| `{row.name}`{mark} | {_shown(row.default)} | {row.doc} |"


def _shown(value: Any) -> str:
    return "" if value is None else f"`{value!r}`"


def _settings() -> Iterator[str]:
    yield "\n| option | type | default | |"
    yield "|---|---|---|---|"
    for option in OPTIONS:
        yield f"| `{option.name}` | {option.type} | {_shown(option.default or None)} | {option.doc} |"


if __name__ == "__main__":
    file = Path(sys.argv[1])
    file.write_text(updated(file.read_text()))
