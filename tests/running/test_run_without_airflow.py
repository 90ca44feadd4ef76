"""`podbay run`, `up` and `check` of DAG files in a Python that has no Airflow, which is the one that runs these tests."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
from pathlib import Path

import pytest


def has_airflow() -> bool:
    try:
        importlib.metadata.version("apache-airflow-core")
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


pytestmark = pytest.mark.skipif(has_airflow(), reason="there is an Airflow here")


@pytest.mark.parametrize(
    "words",
    [("run", "dag.py"), ("up", "--dags", "."), ("check", "dag.py", "--offline")],
    ids=["run", "up", "check"],
)
def test_one_sentence_and_nothing_started(words: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "dag.py").write_text("from airflow.sdk import DAG\n")
    (tmp_path / "podbay.yaml").write_text("name: etl\nnamespace: etl-1\n")
    done = subprocess.run(
        [Path(sys.executable).with_name("podbay"), *words],
        env={"PODBAY_HOME": str(tmp_path / "podbay"), "PATH": os.environ["PATH"]},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr == (
        "error: this needs Apache Airflow 3.3 or newer, and there is none here. Install it beside podbay: "
        'pip install "apache-airflow>=3.3" "apache-airflow-providers-cncf-kubernetes>=10.25"\n'
    )
    assert done.stdout == ""
    assert not (tmp_path / "podbay").exists()
