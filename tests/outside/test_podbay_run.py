"""`podbay run` with nothing set up but an image: a run to its end, one that is cut short, and what cannot be run."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from images import busybox
from patience import PATIENCE, until
from podbay_programs import IMAGE, Programs

RUNS = Path(__file__).parent / "runs"


@pytest.fixture(scope="module")
def podbay(containers: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Programs]:
    """A home whose embedded cluster has an image, and does not run."""
    programs = Programs(tmp_path_factory.mktemp("run"))
    archive = busybox().archive(programs.home / "image.tar", IMAGE)
    programs("cluster", "start")
    programs("cluster", "load", str(archive))
    programs("cluster", "stop")
    yield programs
    programs("cluster", "reset", "--yes")
    until(lambda: not programs.processes(), tell=programs.processes)


def test_to_the_end(podbay: Programs) -> None:
    ended = podbay("run", str(RUNS / "outcomes.py"), "-p", "greeting=good morning", "-o", "json", code=1)
    found = ended.json()
    assert (found["dag"], found["state"]) == ("outcomes", "failed")
    tasks = {(each["task"], each["mapIndex"]): each for each in found["tasks"]}
    assert {key: each["state"] for key, each in tasks.items()} == {
        ("first", None): "success",
        ("deferred", None): "success",
        ("failing", None): "failed",
        ("again", None): "success",
        ("doubled", 0): "success",
        ("doubled", 1): "success",
        ("doubled", 2): "failed",
    }
    assert tasks["again", None]["tries"] == 2
    assert tasks["failing", None]["diagnosis"]["category"] == "ExitCode"
    assert tasks["failing", None]["pod"]["name"].startswith("failing-")
    assert tasks["doubled", 2]["error"] == "ValueError: three is too much"
    assert tasks["doubled", 2]["where"].startswith(f"{RUNS}/outcomes.py:")
    log = next(Path(found["logs"]).rglob("task_id=first/attempt=1.log")).read_text()
    assert "good morning on 2" in log
    assert "pool unknown is not known here" in ended.err
    # The cluster was started for the run, and goes with it.
    until(lambda: not podbay.processes(), tell=podbay.processes)
    assert "stopped" in podbay("cluster", "status").out


def test_private(podbay: Programs) -> None:
    runs = sorted((podbay.home / "podbay" / "airflow" / "runs").iterdir())
    assert runs, "the run before has left its directory"
    assert runs[-1].stat().st_mode & 0o077 == 0
    for name in ("airflow.cfg", "kubeconfig"):
        assert (runs[-1] / name).stat().st_mode & 0o077 == 0, name


def test_ctrl_c_leaves_nothing(podbay: Programs) -> None:
    podbay("cluster", "start")
    before = podbay.processes()
    assert len(before) == 1
    said: list[str] = []

    def text() -> str:
        return "".join(said)

    with podbay.start("run", str(RUNS / "endless.py")) as process:
        reader = threading.Thread(target=lambda: said.extend(process.stdout or ()))
        reader.start()
        try:
            for line in ("in-worker: Running", "in-triggerer: Running", "as-process: running"):
                until(lambda line=line: line in text() or process.poll() is not None, tell=text)
            process.send_signal(signal.SIGINT)
            code = process.wait(timeout=PATIENCE)
        finally:
            if process.poll() is None:
                process.kill()
            reader.join()
    assert code == 130, text()
    assert "Ending the run and its pods" in text()
    assert "The run was ended" in text()
    assert podbay.pods() == []
    until(lambda: podbay.processes().keys() == before.keys(), tell=podbay.processes)
    # A cluster that somebody started by hand stays.
    assert podbay("cluster", "status", "--name", "podbay").out.count("running") == 1
    podbay("cluster", "stop")


def test_ctrl_c_at_the_start_leaves_nothing(podbay: Programs) -> None:
    """While Airflow is imported and the cluster is started."""
    with podbay.start("run", str(RUNS / "endless.py")) as process:
        assert process.stdout is not None
        assert "is starting, and the embedded cluster" in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130, said
    until(lambda: not podbay.processes(), tell=podbay.processes)


def test_files_that_define_nothing_to_run(podbay: Programs) -> None:
    """The whole way for one; the other sentences from the same function, in one process that has Airflow imported."""
    broken = podbay.file(
        "dags/broken.py", "import json\n\ndef read():\n    return json.loads('{')\n\nread()\n"
    )
    said = podbay.refused("run", broken)
    assert said.splitlines()[0] == f"{broken} cannot be imported:"
    assert f'File "{broken}", line 4, in read' in said
    assert "importlib" not in said
    assert "json/decoder.py" not in said
    assert said.splitlines()[-1].startswith("json.decoder.JSONDecodeError: ")

    empty = "from airflow.providers.standard.operators.empty import EmptyOperator as E\nfrom airflow.sdk import DAG, dag\n"
    files = {
        "none": "@dag\ndef never_called(): ...\n",
        "two": "with DAG('one'): E(task_id='a')\nwith DAG('other'): E(task_id='a')\n",
        "cycle": "with DAG('round'):\n    a, b = E(task_id='a'), E(task_id='b')\n    a >> b >> a\n",
    }
    paths = [podbay.file(f"dags/{name}.py", empty + text) for name, text in files.items()]
    program = podbay.file("sentences.py", _SENTENCES)
    done = subprocess.run(
        [sys.executable, program, *paths],
        env=podbay.environment() | {"AIRFLOW_HOME": str(podbay.home / "none"), "PYTHONWARNINGS": "ignore"},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
    )
    none, two, cycle = [line for line in done.stdout.splitlines() if line.startswith("-> ")]
    assert "none.py defines no DAG. A function decorated with @dag must be called" in none
    assert "two.py defines several DAGs: one, other. Choose one with --dag ID." in two
    assert "cycle.py: Cycle detected in Dag: round" in cycle


_SENTENCES = """
import sys
from pathlib import Path
from podbay.airflow.running.dagfile import load
from podbay.errors import InvalidInputError

for path in map(Path, sys.argv[1:]):
    try:
        load(path, path.parent, None)
    except InvalidInputError as error:
        print("->", error)
"""


def test_slips_on_the_command_line(podbay: Programs) -> None:
    """Said before anything is started."""
    good = str(RUNS / "outcomes.py")
    assert podbay.refused("run", "absent.py") == "absent.py does not exist"
    assert "is a directory" in podbay.refused("run", str(RUNS))
    syntax = podbay.file("syntax.py", "with DAG('x') as d\n    pass\n")
    assert "SyntaxError: expected ':'" in podbay.refused("run", syntax)
    assert podbay.refused("run", good, "-p", "greeting") == "--param greeting: write NAME=VALUE"
    assert "expected an object" in podbay.refused("run", good, "--conf", "[1]")
    assert "neither a context of your kubeconfig nor a file" in podbay.refused(
        "run", good, "--cluster", "absent"
    )
    assert not podbay.processes()
