"""The real kubectl as a subprocess: its own home, so that no discovery cache of the person at the keyboard is read."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

SECONDS = 120.0
"""How long one command may take before the test fails."""


@dataclass(frozen=True)
class Result:
    """What a command left behind."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()

    def rows(self) -> list[list[str]]:
        """The cells of a printed table, header first. Only for tables whose cells hold no blanks."""
        return [line.split() for line in self.lines]


@dataclass(frozen=True)
class Kubectl:
    """Runs kubectl against one kubeconfig. `namespace` is added to every command when it is set."""

    program: Path
    kubeconfig: Path
    home: Path
    namespace: str = ""

    def within(self, namespace: str) -> Kubectl:
        return replace(self, namespace=namespace)

    def command(self, *arguments: str) -> list[str]:
        scope = ["--namespace", self.namespace] if self.namespace else []
        return [str(self.program), *scope, *arguments]

    def environment(self, extra: Mapping[str, str] | None = None) -> dict[str, str]:
        return {
            "HOME": str(self.home),
            "TMPDIR": str(self.home),
            "KUBECONFIG": str(self.kubeconfig),
            "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
            **(extra or {}),
        }

    def __call__(
        self,
        *arguments: str,
        stdin: Any = None,
        code: int | None = 0,
        env: Mapping[str, str] | None = None,
    ) -> Result:
        """Run and wait. code is the exit code that must come out; None takes any. stdin: text, or objects as JSON."""
        text = stdin if isinstance(stdin, str) or stdin is None else manifest(stdin)
        done = subprocess.run(
            self.command(*arguments),
            input=text,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            env=self.environment(env),
            check=False,
        )
        if code is not None:
            assert done.returncode == code, f"kubectl {' '.join(arguments)}\n{done.stdout}\n{done.stderr}"
        return Result(done.returncode, done.stdout, done.stderr)

    def refused(self, *arguments: str, stdin: Any = None) -> str:
        """Run a command that must fail with exit code 1; gives what it says."""
        return self(*arguments, stdin=stdin, code=1).err


def manifest(objects: Any) -> str:
    """One object, or several as a List, in the JSON that kubectl reads as YAML."""
    if isinstance(objects, list):
        objects = {"apiVersion": "v1", "kind": "List", "items": objects}
    return json.dumps(objects)


def find_kubectl() -> Path | None:
    """kubectl of this environment, else of PATH."""
    beside = Path(sys.executable).with_name("kubectl")
    if beside.exists():
        return beside
    found = shutil.which("kubectl")
    return Path(found) if found else None
