"""`podbay` as people run it: a subprocess with a home of its own; whatever it leaves running is stopped."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from podbay.testing.requests import Requests

PROGRAM = Path(sys.executable).with_name("podbay")
SECONDS = 120.0


@dataclass(frozen=True)
class Ran:
    code: int
    out: str
    err: str

    def json(self) -> Any:
        return json.loads(self.out)


@dataclass
class Shell:
    """Runs the program with this home and nothing of the environment that tests run in."""

    home: Path
    prefix: Sequence[str] = ()
    extra: dict[str, str] = field(default_factory=dict)

    def environment(self) -> dict[str, str]:
        return {
            "HOME": str(self.home),
            "PODBAY_HOME": str(self.home / "podbay"),
            "PATH": f"{PROGRAM.parent}:/usr/bin:/bin:/usr/sbin:/sbin",
            "LANG": "C.UTF-8",
            **self.extra,
        }

    def command(self, *arguments: str) -> list[str]:
        return [*self.prefix, str(PROGRAM), *arguments]

    def __call__(self, *arguments: str, code: int = 0, stdin: str = "") -> Ran:
        """Run and wait; code is the exit code that must come out. A traceback is never right."""
        done = subprocess.run(
            self.command(*arguments),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            env=self.environment(),
            cwd="/",
            check=False,
        )
        said = f"podbay {' '.join(arguments)}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stdout + done.stderr, said
        assert done.returncode == code, said
        return Ran(done.returncode, done.stdout, done.stderr)

    def start(self, *arguments: str) -> Ran:
        """Start a cluster whose one node is scripted: it needs no container runtime."""
        nodes = self.home / "nodes.yaml"
        nodes.write_text("nodes: [{name: scripted}]\nscript: {rules: [{containers: {'*': [{run: 0}]}}]}\n")
        return self("cluster", "start", "--runtime", "none", "--nodes", str(nodes), *arguments)

    def refused(self, *arguments: str) -> str:
        """A command that must fail with exit code 1 and one sentence; gives the sentence."""
        ran = self(*arguments, code=1)
        assert ran.out == ""
        assert ran.err.startswith("error: "), ran.err
        assert ran.err.count("\n") == 1, ran.err
        return ran.err.strip()

    def directory(self, name: str = "podbay") -> Path:
        return self.home / "podbay" / "clusters" / name

    def kubeconfig(self, name: str = "podbay") -> Path:
        return self.directory(name) / "kubeconfig"

    def api(self, name: str = "podbay") -> Requests:
        return Requests(self.kubeconfig(name))

    def process(self, name: str = "podbay") -> int:
        pid: int = json.loads((self.directory(name) / "process.json").read_text())["pid"]
        return pid


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # A killed child of a test is a zombie until somebody waits for it.
    return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
