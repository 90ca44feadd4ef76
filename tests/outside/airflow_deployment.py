"""A whole Airflow of real processes on SQLite: API server, scheduler, triggerer, DAG processor.

Started together and stopped by their own process ids; the logs stay in the home until its directory goes.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator

from airflow_api import AirflowApi
from airflow_home import AirflowHome
from worker_pods import write_pod_template

__all__ = ["free_port", "running_airflow", "start_component"]

START_SECONDS = 400.0
STOP_SECONDS = 3.0
COMPONENTS = {
    "api-server": ("api-server",),
    # Log servers listen on every address of the machine; here logs are read from files.
    "scheduler": ("scheduler", "--skip-serve-logs"),
    "triggerer": ("triggerer", "--skip-serve-logs"),
    "dag-processor": ("dag-processor",),
}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def running_airflow(
    home: AirflowHome, processes: dict[str, subprocess.Popen[bytes]] | None = None
) -> Iterator[AirflowApi]:
    """A deployment whose parts are all healthy, until the end of the block.

    `processes` gets them by name, for those who end some and start others (`start_component`) meanwhile.
    """
    env = environment(home)
    _run_once(home, env, "db", "migrate")
    processes = {} if processes is None else processes
    try:
        for name in COMPONENTS:
            processes[name] = start_component(home, env, name)
        api = AirflowApi(home.url)
        _wait_healthy(home, api, processes)
        api.log_in()
        yield api
    finally:
        _stop(list(processes.values()))


def environment(home: AirflowHome) -> dict[str, str]:
    """Of every component. Each call makes new secrets."""
    settings = home.settings()
    write_pod_template(home.pod_template, home, settings)
    env = {k: v for k, v in os.environ.items() if not k.startswith(("AIRFLOW", "KUBE"))} | settings
    # Without cached bytecode each of the processes compiles Airflow anew, two to three seconds each.
    env.pop("PYTHONDONTWRITEBYTECODE", None)
    return env


def _command(*words: str) -> list[str]:
    return [sys.executable, "-m", "airflow", *words]


def _run_once(home: AirflowHome, env: dict[str, str], *words: str) -> None:
    done = subprocess.run(
        _command(*words),
        env=env,
        cwd=home.directory,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(
            f"airflow {' '.join(words)} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
        )


def start_component(
    home: AirflowHome, env: dict[str, str], name: str, command: list[str] | None = None
) -> subprocess.Popen[bytes]:
    """One component in a process group of its own; `command` in the place of Airflow's."""
    with home.log(name).open("ab") as log:
        # A group of its own: the signals of a terminal reach only the tests, and the group can be ended whole.
        return subprocess.Popen(
            command or _command(*COMPONENTS[name]),
            env=env,
            cwd=home.directory,
            stdout=log,
            stderr=log,
            process_group=0,
        )


def _stop(processes: list[subprocess.Popen[bytes]]) -> None:
    """Ask the components all at once, then end what is left of their groups."""
    for process in processes:
        process.terminate()
    deadline = time.monotonic() + STOP_SECONDS
    for process in processes:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(max(0.0, deadline - time.monotonic()))
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _wait_healthy(home: AirflowHome, api: AirflowApi, processes: dict[str, subprocess.Popen[bytes]]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not api.healthy():
        dead = [name for name, process in processes.items() if process.poll() is not None]
        if dead or time.monotonic() > deadline:
            blamed = dead or list(processes)
            tails = "\n".join(f"--- {n}\n{home.log(n).read_text()[-3000:]}" for n in blamed)
            raise RuntimeError(
                f"Airflow did not become healthy; ended by themselves: {dead or 'none'}\n{tails}"
            )
        time.sleep(0.3)
