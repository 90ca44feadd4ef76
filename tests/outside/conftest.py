"""Outside programs, unmodified, on the embedded cluster: Airflow with its own Kubernetes provider.

    .venv-airflow/bin/python -m pytest tests/outside

They run with the interpreter that has Airflow (script/setup makes it) and are not collected by any other.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from airflow_api import AirflowApi
from airflow_deployment import free_port, running_airflow
from airflow_home import AirflowHome
from behaviour import NAMESPACE, Behaviour, BehaviourHome
from images import busybox
from postgres_server import postgres_server
from sidecar_image import sidecar_image
from worker_image import python_image

from podbay.embedded.cluster import ClusterOptions
from podbay.embedded.containers import container_agent, runtime_available
from podbay.embedded.nodes import NodeFactory
from podbay.embedded.scripted import ScriptedNode, ScriptedNodes
from podbay.node.agent import NodeAgent
from podbay.testing import Environment
from podbay.testing.requests import Requests

if TYPE_CHECKING:
    from triggers_alone import Supervisor

HERE = Path(__file__).parent
NAMESPACES = ("scripted", "containers", "workers")
BUSYBOX = "localhost/bb:1"
SIDECAR = "localhost/sidecar:1"
PYTHON = ("localhost/python", "1")
ANYWHERE = ("test_behaviour_users.py", "test_behaviour_scheduling.py", "conftest.py")
"""What `--cluster` runs; all else needs nodes of the machine it runs on."""
SCRIPTED = ScriptedNode(
    name="scripted",
    labels={"podbay.dev/scripted": "true"},
    taints=({"key": "podbay.dev/scripted", "value": "true", "effect": "NoSchedule"},),
)

if importlib.util.find_spec("airflow") is None:
    collect_ignore_glob = ["test_*.py"]


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    # They take minutes and run when they are asked for (script/test-airflow-faults, script/test-healer-chaos).
    if config.getoption("--cluster") and collection_path.is_file() and collection_path.name not in ANYWHERE:
        return True
    option = {"airflow_faults": "--fault-tasks", "healer_chaos": "--healer-tasks"}.get(collection_path.name)
    if collection_path.name in ("test_behaviour_triggerers.py", "test_up_on_postgresql.py"):
        # As those; script/test-postgresql.
        return None if config.getoption("--airflow-database") == "postgresql" else True
    return None if option is None or config.getoption(option) else True


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.slow)
            if item.path.parent == HERE:
                # The first test waits for Airflow to start, which a busy machine takes minutes for. Suites of their own
                # say how long they may take.
                item.add_marker(pytest.mark.timeout(900))


@pytest.fixture(autouse=True)
def settings_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process reads Airflow's configuration once; here each test may have its own."""
    monkeypatch.setattr("podbay.airflow.task._settings", None)


@pytest.fixture(scope="session")
def agent() -> NodeAgent | None:
    """The node that runs containers; None where there is no runtime for them."""
    return container_agent("containers", None) if runtime_available() else None


@pytest.fixture(scope="session")
def cluster(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Environment]:
    """One cluster for all tests: a scripted node, for pods that ask for it, and one that runs containers; or the chosen one."""
    chosen = request.config.getoption("--cluster")
    if chosen is not None:
        yield Environment.from_kubeconfig(Path(chosen).resolve())
        return
    agent: NodeAgent | None = request.getfixturevalue("agent")
    nodes: list[NodeFactory] = [lambda: ScriptedNodes([SCRIPTED])]
    if agent is not None:
        nodes.append(lambda: agent)
    with Environment.start(ClusterOptions(nodes=nodes)) as environment:
        if agent is not None:
            directory = tmp_path_factory.mktemp("images")
            for image, tag in (
                (busybox(), BUSYBOX),
                (sidecar_image(), SIDECAR),
                (python_image(), ":".join(PYTHON)),
            ):
                archive = image.archive(directory / "image.tar", tag)
                environment.run(agent.runtime.load_images(archive))
        with Requests(environment.kubeconfig) as requests:
            for name in NAMESPACES:
                requests.create_namespace(name)
        yield environment


@pytest.fixture(scope="session")
def containers(agent: NodeAgent | None) -> None:
    """For tests whose pods are real."""
    if agent is None:
        pytest.skip("no container runtime here (needs root, runc and conmon)")


@pytest.fixture(scope="session")
def kube(cluster: Environment) -> Iterator[Requests]:
    with Requests(cluster.kubeconfig) as requests:
        yield requests


@pytest.fixture(scope="session")
def airflow_home(cluster: Environment, tmp_path_factory: pytest.TempPathFactory) -> AirflowHome:
    return AirflowHome(
        directory=tmp_path_factory.mktemp("airflow"),
        port=free_port(),
        kubeconfig=cluster.kubeconfig,
        sidecar_image=SIDECAR,
        worker_image=PYTHON,
    )


@pytest.fixture(scope="session")
def airflow(airflow_home: AirflowHome) -> Iterator[AirflowApi]:
    """One Airflow for all tests."""
    with running_airflow(airflow_home) as api:
        yield api


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """URL of an empty database on a server of its own."""
    with postgres_server() as url:
        yield url


@pytest.fixture(scope="session")
def behaviour(
    request: pytest.FixtureRequest,
    cluster: Environment,
    kube: Requests,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Behaviour]:
    """One Airflow with two triggerers for all tests of behaviour."""
    option = request.config.getoption
    home = BehaviourHome(
        directory=tmp_path_factory.mktemp("behaviour"),
        port=free_port(),
        kubeconfig=cluster.kubeconfig,
        sidecar_image=SIDECAR,
        worker_image=PYTHON,
        database=request.getfixturevalue("postgresql")
        if option("--airflow-database") == "postgresql"
        else "",
        image=option("--fault-image") if option("--cluster") else "",
    )
    kube.create_namespace(NAMESPACE)
    with Behaviour.started(home) as running:
        yield running
    kube.delete_namespace(NAMESPACE)


@pytest.fixture
def supervisor(cluster: Environment, monkeypatch: pytest.MonkeyPatch) -> Supervisor:
    from airflow.sdk.execution_time import task_runner
    from triggers_alone import Supervisor

    found = Supervisor(cluster)
    monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", found, raising=False)
    return found
