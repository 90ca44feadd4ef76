"""A shell with a home of its own for each test; clusters that it leaves running are stopped."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from podbay_shell import SECONDS, Shell


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    made = Shell(tmp_path)
    yield made
    root = tmp_path / "podbay" / "clusters"
    for directory in root.iterdir() if root.is_dir() else ():
        subprocess.run(
            made.command("cluster", "stop", "--name", directory.name),
            env=made.environment(),
            capture_output=True,
            timeout=SECONDS,
            check=False,
        )
