"""--file of `podbay up` and `podbay run`: the podbay.yaml that a private Airflow follows.

Its tasks then run in the deployment's namespace, by its rules, and DAG files find that namespace in Airflow's configuration
(spec 9), as with an Airflow that `podbay manifests --for env` has told.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from podbay.cli.deployment_file import load
from podbay.cli.target import connect
from podbay.errors import ApiError, StateError

if TYPE_CHECKING:
    from podbay.deployment.model import Deployment
    from podbay.kube.config import ClusterConfig

__all__ = ["AirflowFileOption", "Followed", "follow", "to_follow"]

AirflowFileOption = Annotated[
    Path | None,
    typer.Option(
        "--file",
        envvar="PODBAY_FILE",
        show_envvar=False,
        dir_okay=False,
        help="The podbay.yaml that Airflow follows; ./podbay.yaml when absent, once it is applied.",
    ),
]

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Followed:
    """A deployment, and whether somebody has asked for it by name."""

    deployment: Deployment
    file: Path
    asked: bool

    @property
    def cluster(self) -> str | None:
        """As the file says, if somebody has asked for it: one that lies there sends nobody's tasks to production."""
        return (self.deployment.cluster or None) if self.asked else None


def to_follow(file: Path | None) -> Followed | None:
    """What --file names, else ./podbay.yaml if there is one. Raises InvalidInputError for a file that is not right."""
    path = file or Path("podbay.yaml")
    if file is None and not path.exists():
        return None
    return Followed(load(path), path.expanduser().absolute(), asked=file is not None)


async def follow(config: ClusterConfig, followed: Followed | None, say: Say) -> ClusterConfig:
    """Let the Airflow that is started next follow the deployment; the cluster with its namespace.

    Raises StateError where the deployment was asked for and is not in the cluster; one that merely lies there is then
    only mentioned.
    """
    if followed is None:
        return config
    deployment = followed.deployment
    if not await _is_applied(config, deployment):
        trouble = (
            f"{deployment.name} ({followed.file.name}) is not in this cluster yet. Make it: podbay apply"
        )
        if followed.asked:
            raise StateError(trouble)
        say(f"note: Airflow does not follow it: {trouble}")
        return config
    # Airflow's processes take their environment from this one (airflow/running/settings.py).
    os.environ.update(_told(deployment, followed.file))
    say(f"Airflow follows {followed.file.name}: {deployment.name}, namespace {deployment.namespace}")
    return config.with_namespace(deployment.namespace)


async def _is_applied(config: ClusterConfig, deployment: Deployment) -> bool:
    from podbay.deployment.labels import is_owned
    from podbay.deployment.parts import NAMESPACES

    if not deployment.namespace:
        return False
    async with connect(config) as leased:
        try:
            found = await leased.client.get(NAMESPACES, deployment.namespace)
        except ApiError as err:
            # Who may not look may still launch pods there.
            return err.code == 403
    return is_owned(found, deployment)


def _told(deployment: Deployment, file: Path) -> dict[str, str]:
    """The deployment's environment but for what such an Airflow has of its own: its connection, and its name, by which
    it knows its pods from those of another Airflow of the same deployment."""
    from podbay.deployment.handover import airflow_environment

    own = ("AIRFLOW_CONN_KUBERNETES_DEFAULT", "AIRFLOW__PODBAY__DEPLOYMENT")
    told = airflow_environment(deployment, str(file), in_cluster=False)
    return {name: value for name, value in told.items() if name not in own}
