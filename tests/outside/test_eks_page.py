"""docs/eks.md as it stands: AWS and an EKS cluster on this machine, roles, access, connections, and a DAG that runs there."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "eks.md"
BEFORE = f"""
    {ROOT}/.venv/bin/python {ROOT}/tests/eks/serve_eks.py "$PWD/aws" > aws.log 2>&1 &
    trap "kill $!" EXIT
    until [ -e aws/environment ]; do sleep 0.1; kill -0 $! || exit 1; done
    . aws/environment
"""


@pytest.fixture(scope="module")
def examples() -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        "examples_eks", ROOT / "tests" / "docs" / "test_examples.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_the_whole_walk(containers: None, examples: ModuleType, tmp_path: Path) -> None:
    if not (ROOT / ".venv" / "bin" / "python").exists():
        pytest.skip("AWS on this machine needs .venv: run script/setup")
    shell = examples.Shell(tmp_path)
    try:
        code, said = shell.run(BEFORE)
        assert code == 0, said
        for match in re.finditer(
            r"^```shell-session\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL
        ):
            for step in examples.steps(examples.Block(PAGE, 0, "shell-session", match[1])):
                code, said = shell.run(step.command)
                assert code == 0, f"$ {step.command}\n{said}"
                if step.output:
                    assert examples.expected(step.output).fullmatch(said.strip()), f"$ {step.command}\n{said}"
        _, said = shell.run("grep -c get-token aws/runs")
        # Once for the check of the connection, once for the task.
        assert said.strip() == "2", said
        _, said = shell.run("grep -rlF '[base] hello' podbay/airflow/runs/*/logs | wc -l")
        assert said.strip() == "3", said
        # What was minted, and by what, is nowhere in the home: not in logs, nor in Airflow's database.
        _, said = shell.run('grep -rl -e k8s-aws-v1 -e "$AWS_SECRET_ACCESS_KEY" podbay')
        assert said.strip() == "", said
    finally:
        shell.run("podbay cluster reset --yes")
        shell.close()
