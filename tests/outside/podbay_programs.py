"""`podbay run`, `up` and `down` as people run them, with a home of their own, and a look at what they leave behind."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from podbay.testing.requests import Requests

__all__ = ["Ended", "Programs"]

PROGRAM = Path(sys.executable).with_name("podbay")
IMAGE = "localhost/bb:1"


@dataclass(frozen=True)
class Ended:
    code: int
    out: str
    err: str

    def json(self) -> Any:
        return json.loads(self.out)


@dataclass(frozen=True)
class Programs:
    """The commands with this home, and nothing of the environment that tests run in."""

    home: Path
    more: dict[str, str] = field(default_factory=dict)
    """Environment variables besides the usual ones."""

    def environment(self) -> dict[str, str]:
        return {
            "HOME": str(self.home),
            "PODBAY_HOME": str(self.home / "podbay"),
            "PATH": f"{PROGRAM.parent}:/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin",
            "LANG": "C.UTF-8",
            **self.more,
        }

    def start(self, *words: str, stdin: int | None = None) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [str(PROGRAM), *words],
            env=self.environment(),
            cwd=self.home,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def __call__(self, *words: str, code: int = 0, stdin: str = "") -> Ended:
        """Run and wait; a traceback is never right."""
        process = self.start(*words, stdin=subprocess.PIPE)
        out, err = process.communicate(stdin, timeout=240)
        said = f"podbay {' '.join(words)}: {process.returncode}\n{out}\n{err}"
        assert "Traceback" not in out + err, said
        assert process.returncode == code, said
        return Ended(process.returncode, out, err)

    def refused(self, *words: str) -> str:
        """A command that must fail with a sentence; gives it."""
        ended = self(*words, code=1)
        assert ended.err.startswith("error: "), ended.err
        return ended.err.removeprefix("error: ").strip()

    def file(self, name: str, text: str) -> str:
        path = self.home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return str(path)

    def processes(self) -> dict[int, str]:
        """Everything that runs with this home, by process id."""
        mark = f"PODBAY_HOME={self.home / 'podbay'}".encode()
        found = {}
        for directory in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if mark in (directory / "environ").read_bytes().split(b"\0"):
                    words = (directory / "cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
                    if int(directory.name) != os.getpid():
                        found[int(directory.name)] = words
        return found

    def pods(self) -> list[dict[str, Any]]:
        """All pods of the embedded cluster, which must be running."""
        with Requests(self.home / "podbay" / "clusters" / "podbay" / "kubeconfig") as requests:
            items: list[dict[str, Any]] = requests.call("GET", "/api/v1/pods")[1]["items"]
            return items
