"""Pages whose examples need Airflow, as they stand; how a page is played is told in tests/docs/test_examples.py."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "docs" / "run.md", ROOT / "docs" / "check.md", ROOT / "README.md"]
BEFORE = f"""
    {ROOT}/script/demo-image "$PWD/demo.tar" localhost/podbay-demo:1
    podbay cluster start
    podbay cluster load "$PWD/demo.tar"
    podbay cluster stop
"""


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
        code, said = shell.run(BEFORE)
        assert code == 0, said
        # Not `console`: those run in a Python that has no Airflow.
        for match in re.finditer(
            r"^```shell-session\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL
        ):
            for step in examples.steps(examples.Block(page, 0, "shell-session", match[1])):
                code, said = shell.run(step.command)
                assert code == 0, f"$ {step.command}\n{said}"
                if step.output:
                    assert examples.expected(step.output).fullmatch(said.strip()), f"$ {step.command}\n{said}"
    finally:
        shell.run("podbay down; podbay cluster reset --yes")
        shell.close()
