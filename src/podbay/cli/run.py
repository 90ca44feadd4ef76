"""`podbay run FILE`: one run of a DAG in a private Airflow, its pods on the embedded cluster or any other."""

from __future__ import annotations

import asyncio
import os
import signal
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import orjson
import typer

from podbay.cli.airflow_file import AirflowFileOption, Followed, follow, to_follow
from podbay.cli.output import EXIT_INTERRUPTED, Output, errors, errors_as_sentences, print_json
from podbay.cli.target import ClusterOption, choose
from podbay.embedded.home import ClusterHome
from podbay.errors import InvalidInputError

if TYPE_CHECKING:
    from podbay.airflow.running.cluster_use import ClusterUse
    from podbay.airflow.running.session import Report, RunRequest, RunSession
    from podbay.kube.config import ClusterConfig

# Functions import what they need: wrong usage is said at once.

__all__ = ["DatabaseOption", "run"]

DatabaseOption = Annotated[
    str | None,
    typer.Option(
        "--database",
        metavar="URL",
        envvar="PODBAY_DATABASE",
        show_envvar=True,
        help="Of Airflow's own database, as SQLAlchemy writes it; SQLite when absent.",
    ),
]


def run(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The Python file that defines the DAG.")],
    dag: Annotated[
        str | None, typer.Option("--dag", metavar="ID", help="Which one, if FILE defines several.")
    ] = None,
    param: Annotated[
        list[str] | None, typer.Option("--param", "-p", metavar="NAME=VALUE", help="A param of the DAG.")
    ] = None,
    conf: Annotated[
        str, typer.Option(metavar="JSON", help="For dag_run.conf: an object, or @FILE with one.")
    ] = "",
    cluster: ClusterOption = None,
    dags: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="What FILE imports from; its own directory when absent."),
    ] = None,
    database: DatabaseOption = None,
    deployment: AirflowFileOption = None,
    output: Annotated[Output, typer.Option("--output", "-o", help="text or json.")] = Output.text,
) -> None:
    """Run a DAG once, with nothing else set up.

    Shows its tasks and pods while they run, and why one failed. Exit code: 0 the run succeeded, 1 it failed or could
    not be run, 130 Ctrl-C (the run is ended, its pods are deleted).
    """
    with errors_as_sentences():
        from podbay.airflow.running.requirement import require_airflow

        request = _request(file, dag, dags, database, _params(param), _conf(conf))
        version = require_airflow()
        target = _Target(cluster, to_follow(deployment))
        session, report = asyncio.run(_run(request, version, target, quiet=output is Output.json))
        _show(session, report, output)
    raise typer.Exit({"success": 0, "interrupted": EXIT_INTERRUPTED}.get(report.state, 1))


def _request(
    file: Path,
    dag: str | None,
    dags: Path | None,
    database: str | None,
    params: dict[str, str],
    conf: dict[str, Any],
) -> RunRequest:
    from podbay.airflow.running.session import RunRequest

    path = file.expanduser().absolute()
    if path.is_dir():
        raise InvalidInputError(f"{file} is a directory. Name the file that defines the DAG.")
    if not path.is_file():
        raise InvalidInputError(f"{file} does not exist")
    if path.suffix != ".py":
        raise InvalidInputError(f"{file} is no Python file. Name the one that defines the DAG.")
    _check_syntax(path)
    root = dags.expanduser().absolute() if dags is not None else path.parent
    if not path.is_relative_to(root):
        raise InvalidInputError(f"--dags {dags}: {file} is not below it")
    return RunRequest(file=path, dags=root, dag_id=dag, params=params, conf=conf, database=database)


def _check_syntax(path: Path) -> None:
    """Before anything is started: this is the commonest slip, and the cheapest to find."""
    try:
        compile(path.read_bytes(), str(path), "exec", dont_inherit=True)
    except SyntaxError as err:
        said = "".join(traceback.format_exception_only(err)).rstrip()
        raise InvalidInputError(f"{path} cannot be imported:\n{said}") from None
    except ValueError as err:
        raise InvalidInputError(f"{path} cannot be imported: {err}") from None


def _params(given: list[str] | None) -> dict[str, str]:
    found = {}
    for item in given or ():
        name, separator, value = item.partition("=")
        if not separator or not name:
            raise InvalidInputError(f"--param {item}: write NAME=VALUE")
        found[name] = value
    return found


def _conf(text: str) -> dict[str, Any]:
    if not text:
        return {}
    what = "--conf"
    if text.startswith("@"):
        path = Path(text[1:]).expanduser()
        what = f"--conf {text}"
        if not path.is_file():
            raise InvalidInputError(f"{what}: no such file")
        text = path.read_text()
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError as err:
        raise InvalidInputError(f"{what}: not JSON: {err}") from None
    if not isinstance(found, dict):
        raise InvalidInputError(f'{what}: expected an object such as {{"limit": 10}}')
    return found


async def _run(
    request: RunRequest, version: str, target: _Target, *, quiet: bool
) -> tuple[RunSession, Report]:
    from podbay.airflow.running.session import RunSession
    from podbay.airflow.running.settings import name_left_out
    from podbay.cli.run_view import show_while

    try:
        namespace = await target.begin()
        async with show_while(quiet=quiet) as view:
            view.note(
                f"Airflow {version} is starting" + (", and the embedded cluster" if target.starts else "")
            )
            if told := name_left_out(os.environ):
                view.note(told)
            session = RunSession(request, version=version, namespace=namespace, listener=view)
            view.attach(session.picture, session.home.logs)
            _on_signals(lambda: _interrupt(session, view.note))
            async with session:
                report = await session.run(target.config())
        return session, report
    finally:
        await target.release()


def _on_signals(call: Callable[[], None]) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, call)


def _interrupt(session: RunSession, note: Callable[[str], None]) -> None:
    session.interrupt()
    note("Ending the run and its pods. Ctrl-C again does not wait for them.")


class _Target:
    """The chosen cluster; an embedded one is started beside everything else, and stopped if no other run uses it."""

    def __init__(self, word: str | None, followed: Followed | None = None) -> None:
        self._word = word or (followed.cluster if followed else None)
        self._followed = followed
        self._use: ClusterUse | None = None
        self._chosen: asyncio.Future[ClusterConfig] | None = None
        self.starts = False

    async def begin(self) -> str:
        """Begin to choose; the namespace that tasks get unless they name one."""
        from podbay.airflow.running.cluster_use import embedded_home

        loop = asyncio.get_running_loop()
        starting = asyncio.Event()

        def start(home: ClusterHome) -> None:
            loop.call_soon_threadsafe(starting.set)
            self._used(home).start()

        def work() -> ClusterConfig:
            found = choose(self._word, start=start)
            home = embedded_home(found)
            if home is not None:
                self._used(home)
            return found

        self._chosen = asyncio.ensure_future(asyncio.to_thread(work))
        wait = asyncio.ensure_future(starting.wait())
        await asyncio.wait({self._chosen, wait}, return_when=asyncio.FIRST_COMPLETED)
        wait.cancel()
        self.starts = starting.is_set()
        if self._followed is not None:
            return (await follow(await self.config(), self._followed, _say)).namespace
        # A cluster that is still starting is an embedded one.
        return "default" if self.starts else (await self.config()).namespace

    def _used(self, home: ClusterHome) -> ClusterUse:
        from podbay.airflow.running.cluster_use import ClusterUse

        if self._use is None:
            self._use = ClusterUse(home)
        return self._use

    async def config(self) -> ClusterConfig:
        assert self._chosen is not None
        # A start goes on whoever waits for it: `release` must see its end.
        return await asyncio.shield(self._chosen)

    async def release(self) -> None:
        if self._chosen is not None:
            await asyncio.gather(self._chosen, return_exceptions=True)
        if self._use is not None:
            await asyncio.to_thread(self._use.release)


def _say(text: str) -> None:
    errors.print(text, markup=False)


def _show(session: RunSession, report: Report, output: Output) -> None:
    from podbay.cli.run_report import report_json, report_text

    if output is Output.json:
        print_json(report_json(session.picture, report, session.home))
    else:
        typer.echo(report_text(session.picture, report, session.home), nl=False)
