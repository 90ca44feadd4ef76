"""docs/proofs.md: every proof that it names is a test. docs/platform.md: its table of fields is that of the file."""

from __future__ import annotations

import re
from pathlib import Path

from podbay.deployment.format import FILE
from podbay.deployment.kinds import Struct

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "platform.md").read_text()
PROOFS = (ROOT / "docs" / "proofs.md").read_text()


def test_every_proof_is_a_test() -> None:
    proofs = re.findall(r"`([\w/]+\.py)::(test_\w+)`", PROOFS)
    assert len(proofs) > 30
    for path, name in proofs:
        assert re.search(rf"^(async )?def {name}\(", (ROOT / "tests" / path).read_text(), re.MULTILINE), name


def test_no_rule_of_the_platform_is_left_out() -> None:
    """Rules 8 to 53 of what was to be made, and the twenty things that Astro adds."""
    rules, _, added = PROOFS.partition("## What Astro adds")
    named: set[int] = set()
    for cell in re.findall(r"^\| ([\d, -]+) \|", rules, re.MULTILINE):
        for first, last in re.findall(r"(\d+)(?:-(\d+))?", cell):
            named |= set(range(int(first), int(last or first) + 1))
    assert named >= set(range(8, 54))
    assert [int(each) for each in re.findall(r"^\| (\d+) \|", added, re.MULTILINE)] == list(range(1, 21))
    for line in added.splitlines():
        assert not re.match(r"\| \d", line) or "::test_" in line, line


def test_every_field_is_in_the_table() -> None:
    table = PAGE[PAGE.index("## The file") : PAGE.index("## Applying")]
    for entry in FILE.entries:
        if entry.name == "version":
            continue
        nested = entry.kind.entries if isinstance(entry.kind, Struct) else ()
        assert f"`{entry.name}`" in table or all(f"`{entry.name}.{each.name}`" in table for each in nested), (
            entry.name
        )
