"""Outside programs, unmodified, on the embedded cluster: Airflow with its own Kubernetes provider.

    .venv-airflow/bin/python -m pytest tests/outside

They run with the interpreter that has Airflow (script/setup makes it) and are not collected by any other.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path

import pytest
from airflow_api import AirflowApi
from airflow_deployment import free_port, running_airflow
from airflow_home import AirflowHome

from podbay.embedded.cluster import ClusterOptions
from podbay.embedded.scripted import ScriptedNode, ScriptedNodes
from podbay.testing import Environment
from podbay.testing.requests import Requests

HERE = Path(__file__).parent
NAMESPACES = ("scripted",)
SCRIPTED = ScriptedNode(
    name="scripted",
    labels={"podbay.dev/scripted": "true"},
    taints=({"key": "podbay.dev/scripted", "value": "true", "effect": "NoSchedule"},),
)

if importlib.util.find_spec("airflow") is None:
    collect_ignore_glob = ["test_*.py"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.slow)
            # The first test waits for Airflow to start.
            item.add_marker(pytest.mark.timeout(240))


@pytest.fixture(scope="session")
def cluster() -> Iterator[Environment]:
    with Environment.start(ClusterOptions(nodes=(lambda: ScriptedNodes([SCRIPTED]),))) as environment:
        with Requests(environment.kubeconfig) as requests:
            for name in NAMESPACES:
                requests.create_namespace(name)
        yield environment


@pytest.fixture(scope="session")
def kube(cluster: Environment) -> Iterator[Requests]:
    with Requests(cluster.kubeconfig) as requests:
        yield requests


@pytest.fixture(scope="session")
def airflow(cluster: Environment, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AirflowApi]:
    """One Airflow for all tests."""
    home = AirflowHome(
        directory=tmp_path_factory.mktemp("airflow"),
        port=free_port(),
        kubeconfig=cluster.kubeconfig,
        sidecar_image="podbay.test/busybox:1",
    )
    with running_airflow(home) as api:
        yield api
