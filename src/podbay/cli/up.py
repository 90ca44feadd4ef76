"""`podbay up` and `podbay down`: Airflow with its UI, and the embedded cluster, on this machine."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from podbay.cli.airflow_file import AirflowFileOption, follow, to_follow
from podbay.cli.output import Output, console, errors, errors_as_sentences, print_json, print_table
from podbay.cli.run import DatabaseOption
from podbay.cli.target import ClusterOption, choose
from podbay.embedded.home import ClusterHome
from podbay.errors import InvalidInputError

if TYPE_CHECKING:
    from podbay.airflow.running.cluster_use import ClusterUse

__all__ = ["down", "up"]


def up(
    dags: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Your DAG files; the last time's when absent, else ./dags."),
    ] = None,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port of the UI; 0: as last time, else 8080 or a free one.")
    ] = 0,
    cluster: ClusterOption = None,
    database: DatabaseOption = None,
    file: AirflowFileOption = None,
    foreground: Annotated[bool, typer.Option("--foreground", "-f", help="Stay here until Ctrl-C.")] = False,
    show_status: Annotated[bool, typer.Option("--status", help="Only show what runs.")] = False,
    output: Annotated[Output, typer.Option("--output", "-o", help="text or json.")] = Output.text,
) -> None:
    """Start Airflow (UI, scheduler, triggerer, DAG processor) and the embedded cluster; ready when it returns.

    Components that die are started again. What runs, DAGs, history and password stay as they are over `podbay down`
    and restarts of the machine.
    """
    with errors_as_sentences():
        from podbay.airflow.running import stack
        from podbay.airflow.running.cluster_use import embedded_home
        from podbay.airflow.running.requirement import require_airflow
        from podbay.airflow.running.settings import name_left_out

        if show_status:
            _show_status(stack.status(), output)
            return
        version = require_airflow()
        # Of --output json stdout is the document's alone.
        say = errors if output is Output.json else console
        use = _EmbeddedUse(say)
        directory = _dags(dags)
        stack.check(stack.UpRequest(dags=directory, port=port, database=database))
        already = bool(stack.status())
        try:
            followed = to_follow(file)
            config = choose(cluster or (followed.cluster if followed else None), start=use.start)
            request = stack.UpRequest(
                dags=directory, port=port, database=database, embedded=use.of(embedded_home(config))
            )
            if not already:
                config = asyncio.run(follow(config, followed, lambda text: say.print(text, markup=False)))
                if told := name_left_out(os.environ):
                    say.print(told, markup=False)
                say.print(f"Airflow {version} is starting.")
            facts = asyncio.run(stack.start(request, config, version=version))
        except BaseException:
            use.undo()
            raise
        use.hand_over()
        _show_started(facts, stack.USER, stack.password(), output, already=already)
        if foreground:
            _stay(stack.stop)


class _EmbeddedUse:
    """The embedded cluster counts as used by this command until Airflow itself counts."""

    def __init__(self, say: Console) -> None:
        self._say = say
        self._use: ClusterUse | None = None

    def of(self, home: ClusterHome | None) -> ClusterHome | None:
        if home is not None and self._use is None:
            from podbay.airflow.running.cluster_use import ClusterUse

            self._use = ClusterUse(home)
        return home

    def start(self, home: ClusterHome) -> None:
        self._say.print(f"The embedded cluster {home.name} is starting.")
        self.of(home)
        assert self._use is not None
        self._use.start()

    def hand_over(self) -> None:
        if self._use is not None:
            self._use.close()

    def undo(self) -> None:
        if self._use is not None:
            self._use.release()


def _dags(given: Path | None) -> Path | None:
    if given is not None:
        path = given.expanduser().absolute()
        if not path.is_dir():
            raise InvalidInputError(f"--dags {given}: no such directory")
        return path
    from podbay.airflow.running.home import up_home

    usual = Path("dags").absolute()
    known = (up_home().directory / "settings.json").exists()
    return usual if usual.is_dir() and not known else None


def _show_started(facts: dict[str, Any], user: str, password: str, output: Output, *, already: bool) -> None:
    if output is Output.json:
        print_json({**facts, "user": user, "password": password, "alreadyRunning": already})
        return
    ready = "was running already" if already else "is ready"
    console.print(f"Airflow {ready} at {facts['url']}", markup=False)
    console.print(f"  user {user}, password {password}", markup=False)
    console.print(f"  DAG files in {facts['dags']}", markup=False)
    if already and (told := _other_dags(Path(facts["dags"]), Path.cwd())):
        console.print(f"  {told}", markup=False)
    console.print("Stop it: podbay down")


def _other_dags(running: Path, here: Path) -> str:
    """How to get the DAGs of this directory, for somebody who may take those of another one for them."""
    usual = here / "dags"
    if running in (usual, here):
        return ""
    return f"For the DAGs here: podbay down, then podbay up --dags {usual if usual.is_dir() else 'DIR'}"


def _show_status(facts: dict[str, Any], output: Output) -> None:
    if output is Output.json:
        print_json(facts)
    elif not facts:
        console.print("Airflow is not running. Start it: podbay up")
    else:
        console.print(
            f"Airflow {facts['version']} at {facts['url']}, DAG files in {facts['dags']}", markup=False
        )
        rows = [
            [name, _state(part), str(part["pid"] or "-"), str(part["starts"] - 1)]
            for name, part in facts["components"].items()
        ]
        print_table(["COMPONENT", "STATE", "PID", "RESTARTS"], rows)
    if not facts:
        raise typer.Exit(3)


def _state(part: dict[str, Any]) -> str:
    if part["crashLoop"]:
        return "keeps ending"
    return "running" if part["pid"] else "starting again"


def _stay(stop: Any) -> None:
    console.print("Ctrl-C stops it.")
    try:
        signal.pause()
    except KeyboardInterrupt:
        console.print("Airflow is stopping.")
        stop()
        raise


def down() -> None:
    """Stop Airflow, and the embedded cluster if `up` started it. Tasks that run are ended; history stays."""
    with errors_as_sentences():
        from podbay.airflow.running import stack
        from podbay.airflow.running.cluster_use import ClusterUse
        from podbay.embedded.home import cluster_home

        facts = stack.status()
        stopped = stack.stop()
        console.print("Airflow is stopped." if stopped else "Airflow was not running.")
        name = facts.get("cluster")
        if name and ClusterUse(cluster_home(name)).release():
            console.print(f"The embedded cluster {name} is stopped.")
