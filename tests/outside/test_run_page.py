"""Pages whose examples need Airflow, as they stand; how a page is played is told in tests/docs/test_examples.py."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "docs" / "run.md", ROOT / "docs" / "check.md", ROOT / "README.md"]
WITHOUT_REGISTRY = re.compile(r"^```sh\n(script/demo-image .*?)^```$", re.MULTILINE | re.DOTALL)
"""How README.md does without an image registry: there is none where this runs."""
FILE = re.compile(r"# (\w+\.py)\n")
"""The first line of a Python block that the commands after it use."""


def before() -> str:
    found = WITHOUT_REGISTRY.search((ROOT / "README.md").read_text())
    assert found is not None
    lines = found[1].replace("script/", f"{ROOT}/script/").splitlines()
    return " && ".join([*lines, "podbay cluster stop"])


@pytest.fixture(scope="module")
def examples() -> ModuleType:
    spec = importlib.util.spec_from_file_location("examples", ROOT / "tests" / "docs" / "test_examples.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_page(containers: None, examples: ModuleType, tmp_path: Path, page: Path) -> None:
    shell = examples.Shell(tmp_path)
    try:
        code, said = shell.run(before())
        assert code == 0, said
        for block in examples.blocks(page):
            named = FILE.match(block.text) if block.language == "python" else None
            if named is not None:
                (tmp_path / named[1]).write_text(block.text)
            # Not `console`: those run in a Python that has no Airflow.
            if block.language == "shell-session":
                play(shell, examples, block)
    finally:
        shell.run("podbay down; podbay cluster reset --yes")
        shell.close()


def play(shell: Any, examples: ModuleType, block: Any) -> None:
    for step in examples.steps(block):
        code, said = shell.run(step.command)
        assert code == 0, f"{block.id}: $ {step.command}\n{said}"
        if step.output:
            assert examples.expected(step.output).fullmatch(said.strip()), f"$ {step.command}\n{said}"
