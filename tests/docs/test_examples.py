"""Every example of README.md and docs/: console blocks in a shell, Python blocks as programs or tests.

In a console block `$ ` begins a command, `> ` goes on with it, anything else is what it prints; `…` stands for whatever.
Blocks of one page share a shell, a home and a working directory; a command that fails ends the page. Blocks that need
Airflow are `shell-session`, and played by tests/outside/test_run_page.py.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BINARIES = Path(sys.executable).parent
SECONDS = 120.0
BEFORE = {
    "cli.md": f"""
        podbay cluster start
        {ROOT}/script/demo-image "$PWD/demo.tar" docker.io/library/busybox:1.36
        podbay cluster load "$PWD/demo.tar"
    """,
    "faults.md": f"""
        podbay cluster start
        export KUBECONFIG=$(podbay cluster kubeconfig --path)
        {ROOT}/script/demo-image "$PWD/demo.tar" localhost/podbay-demo:1
        podbay cluster load "$PWD/demo.tar"
    """,
    "registries.md": f"""
        PYTHONPATH={":".join(str(ROOT / "tests" / each) for each in ("node", "shared", "registries"))} \
            {sys.executable} {ROOT}/tests/docs/serve_registry.py "$PWD/registry" > address.txt 2> /dev/null &
        trap "kill $!" EXIT
        until [ -s address.txt ]; do sleep 0.1; kill -0 $! || exit 1; done
        export REGISTRY=$(cat address.txt)
        . "$PWD/registry/clouds.env"
        echo s3cret-word > password.txt
    """,
}
"""What a page takes for granted."""
PROGRAMS = {"registries.md": ("docker-registry", "htpasswd")}
"""Of Debian, without which a page is not tried."""
BEFORE_EACH = {
    "faults.md": """
        podbay cluster fault clear
        kubectl delete pod train --grace-period=0 --force --ignore-not-found
        kubectl run train --image=localhost/podbay-demo:1 --image-pull-policy=Never --command -- sleep 1000
        kubectl wait --for=condition=Ready pod/train --timeout=100s
    """
}
"""What a page takes for granted anew before each command that speaks of a pod."""


@dataclass(frozen=True)
class Block:
    page: Path
    line: int
    language: str
    text: str

    @property
    def id(self) -> str:
        return f"{self.page.name}:{self.line}"


@dataclass(frozen=True)
class Step:
    command: str
    output: str


def blocks(page: Path) -> list[Block]:
    found = []
    text = page.read_text()
    for match in re.finditer(r"^```(\w+)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        found.append(Block(page, text[: match.start()].count("\n") + 1, match[1], match[2]))
    return found


def steps(block: Block) -> Iterator[Step]:
    command: list[str] = []
    output: list[str] = []
    for line in [*block.text.splitlines(), "$ "]:
        if line.startswith("$ "):
            if command:
                yield Step("\n".join(command), "\n".join(output))
            command, output = [line[2:]], []
        elif line.startswith("> ") and not output:
            command.append(line[2:])
        else:
            output.append(line)


def environment(home: Path) -> dict[str, str]:
    return {
        "HOME": str(home),
        "PODBAY_HOME": str(home / "podbay"),
        "PATH": f"{BINARIES}:/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin",
        "LANG": "C.UTF-8",
    }


class Shell:
    """One bash for a page; each command's output is read up to a mark that follows it."""

    MARK = "--- end of a documented command:"

    def __init__(self, home: Path) -> None:
        self._process = subprocess.Popen(
            ["bash"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=home,
            env=environment(home),
        )

    def run(self, command: str) -> tuple[int, str]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f'{command}\necho "{self.MARK} $?"\n')
        self._process.stdin.flush()
        said = ""
        for line in self._process.stdout:
            if self.MARK in line:
                before, _, code = line.partition(self.MARK)
                return int(code), said + before
            said += line
        raise AssertionError(f"the shell ended in {command!r}: {said}")

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(timeout=SECONDS)
        self._process.stdout.close()


def expected(output: str) -> re.Pattern[str]:
    """A pattern: `…` is anything, runs of blanks are alike (columns grow with their contents)."""
    lines = []
    for line in output.splitlines():
        words = [re.escape(word).replace("…", ".*") for word in line.split()]
        lines.append(r"\s*" + r"\s+".join(words) + r"\s*")
    return re.compile("\n".join(lines) if output.strip() != "…" else ".*", re.DOTALL)


CONSOLE_PAGES = [page for page in PAGES if any(b.language == "console" for b in blocks(page))]
PYTHON_BLOCKS = [b for page in PAGES for b in blocks(page) if b.language == "python"]


@pytest.mark.slow
@pytest.mark.parametrize("page", CONSOLE_PAGES, ids=lambda page: page.name)
def test_console(page: Path, tmp_path: Path) -> None:
    if not _has_runtime():
        pytest.skip(
            "the examples start pods as containers, which needs runc and conmon or a container engine"
        )
    missing = [each for each in PROGRAMS.get(page.name, ()) if shutil.which(each) is None]
    if missing:
        pytest.skip(f"the examples use {', '.join(missing)}")
    shell = Shell(tmp_path)
    try:
        if page.name in BEFORE:
            code, said = shell.run(BEFORE[page.name])
            assert code == 0, said
        for block in blocks(page):
            if block.language == "console":
                _play(shell, block)
    finally:
        for directory in (tmp_path / "podbay" / "clusters").glob("*"):
            shell.run(f"podbay cluster reset --yes --name {directory.name}")
        shell.close()


def _play(shell: Shell, block: Block) -> None:
    for step in steps(block):
        if "default/" in step.command and block.page.name in BEFORE_EACH:
            code, said = shell.run(BEFORE_EACH[block.page.name])
            assert code == 0, said
        code, said = shell.run(step.command)
        assert code == 0, f"{block.id}: $ {step.command}\n{said}"
        if step.output:
            assert expected(step.output).fullmatch(said.strip()), f"{block.id}: $ {step.command}\n{said}"


def _has_runtime() -> bool:
    engine = Path("/var/run/docker.sock").exists() and os.access("/var/run/docker.sock", os.W_OK)
    return engine or (os.geteuid() == 0 and bool(shutil.which("runc") and shutil.which("conmon")))


def _python_with_airflow() -> str:
    """Airflow stands apart from the development tools (script/setup)."""
    found = ROOT / ".venv-airflow" / "bin" / "python"
    if not found.exists():
        pytest.skip("needs .venv-airflow: run script/setup")
    return str(found)


@pytest.mark.parametrize("block", PYTHON_BLOCKS, ids=lambda block: block.id)
def test_python(block: Block, tmp_path: Path) -> None:
    """A block with test functions is a test module, any other a program."""
    is_test = "def test_" in block.text
    path = tmp_path / ("test_example.py" if is_test else "example.py")
    path.write_text(block.text)
    program = _python_with_airflow() if "from airflow" in block.text else sys.executable
    command = [program, "-m", "pytest", "-q", "-p", "no:cacheprovider"] if is_test else [program]
    done = subprocess.run(
        [*command, str(path)],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        cwd=tmp_path,
        env=environment(tmp_path),
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
        assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_into_a_page_lead_to_a_heading(page: Path) -> None:
    for name, anchor in re.findall(r"\]\(([\w/.]*)#([^)]+)\)", page.read_text()):
        target = page.parent / name if name else page
        headings = re.findall(r"^#+ (.*)$", target.read_text(), re.MULTILINE)
        # As GitHub makes them.
        found = [re.sub(r"[^\w -]", "", each.lower()).replace(" ", "-") for each in headings]
        assert anchor in found, f"{name}#{anchor}"
