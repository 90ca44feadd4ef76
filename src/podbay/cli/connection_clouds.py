"""`podbay connection add eks` and `add gke`: clusters that a cloud tells about, with tokens that are minted where used."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated, Any

import typer

from podbay.cli.connection_parts import Delivery, NameArgument, deliver, delivering, told
from podbay.cli.output import errors_as_sentences, run
from podbay.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from podbay.aws.place import AwsLogin, EksPlace
    from podbay.connections.clouds import Opened
    from podbay.gke.place import GkePlace
    from podbay.kube.config import ClusterConfig, ExecPlugin

# Functions import what they need, as in cluster.py.

__all__ = ["open_cloud", "register"]

Cluster = Annotated[str, typer.Option("--cluster", help="Its name.")]
Plugin = Annotated[
    bool,
    typer.Option(
        "--plugin", help="Write a kubeconfig with a credential plugin, which upstream's operators read, too."
    ),
]


def register(add: typer.Typer) -> None:
    """Add the commands."""
    add.command("eks")(delivering(_eks))
    add.command("gke")(delivering(_gke))


def _eks(
    name: NameArgument,
    cluster: Cluster,
    region: Annotated[
        str, typer.Option(envvar=["AWS_REGION", "AWS_DEFAULT_REGION"], help="Where the cluster is.")
    ],
    to: Delivery,
    role_arn: Annotated[str, typer.Option(help="The role that the cluster knows; assumed first.")] = "",
    external_id: Annotated[str, typer.Option(help="That the role's trust policy asks for.")] = "",
    aws_conn_id: Annotated[str, typer.Option(help="Airflow's AWS connection with the identity.")] = "",
    profile: Annotated[str, typer.Option(help="Profile of AWS's files, on workers and triggerers.")] = "",
    plugin: Plugin = False,
) -> None:
    """A cluster of Amazon EKS. No AWS command line is needed, and no credential is stored.

    Without --aws-conn-id and --profile the identity is what boto3 finds where tasks run: IRSA, Pod Identity, the environment,
    the instance.
    """
    with errors_as_sentences():
        from podbay.aws.place import FIELD, EksPlace

        place = EksPlace(
            cluster_name=cluster,
            region=region,
            role_arn=role_arn,
            external_id=external_id,
            aws_conn_id=aws_conn_id,
            profile=profile,
        )
        program = _eks_plugin(place) if plugin else None
        _add(name, place, {FIELD: place.to_extra()}, program, to)


def _gke(
    name: NameArgument,
    cluster: Cluster,
    location: Annotated[str, typer.Option(help="Its region or zone.")],
    project: Annotated[str, typer.Option(envvar="GOOGLE_CLOUD_PROJECT", help="Whose it is.")],
    to: Delivery,
    plugin: Plugin = False,
) -> None:
    """A cluster of Google Kubernetes Engine. No gcloud is needed, and no credential is stored.

    The identity is what google-auth finds where tasks run: workload identity, GOOGLE_APPLICATION_CREDENTIALS, the instance.
    """
    with errors_as_sentences():
        from podbay.gke.place import FIELD, GkePlace

        place = GkePlace(cluster=cluster, location=location, project=project)
        program = _gke_plugin() if plugin else None
        _add(name, place, {FIELD: place.to_extra()}, program, to)


def _add(
    name: str,
    place: EksPlace | GkePlace,
    extra: Mapping[str, Any],
    plugin: ExecPlugin | None,
    to: Delivery,
) -> None:
    from podbay.connections.entry import ConnectionEntry

    notes: list[str] = []
    # A plugin stands in a kubeconfig, whose address only the cloud tells.
    opened = None if to.unproven and plugin is None else run(open_cloud(place, to.namespace))
    config = told(opened).with_namespace(to.namespace or "default") if opened is not None else None
    if plugin is not None:
        assert config is not None
        config, extra, notes = _with_plugin(config, plugin)
    entry = ConnectionEntry(name, {**extra, **_namespace(to)}, str(place))
    deliver(entry, config, to, advice=opened.advice if opened is not None else None, notes=notes)


def _namespace(to: Delivery) -> dict[str, str]:
    return {"namespace": to.namespace} if to.namespace else {}


def _with_plugin(
    config: ClusterConfig, plugin: ExecPlugin
) -> tuple[ClusterConfig, dict[str, Any], list[str]]:
    from dataclasses import replace

    from podbay.connections.portable import portable
    from podbay.kube.kubeconfig_text import kubeconfig_of

    found = portable(replace(config, credential=plugin))
    text = kubeconfig_of(found.config, name=config.context, compact=True)
    return found.config, {"kube_config": text}, list(found.notes)


def _eks_plugin(place: EksPlace) -> ExecPlugin:
    from podbay.kube.config import ExecPlugin

    if place.aws_conn_id:
        raise InvalidInputError("--aws-conn-id: a plugin cannot ask Airflow; use --profile or --role-arn")
    words = ["aws", "eks-token", place.cluster_name, "--region", place.region]
    for option, value in (
        ("--role-arn", place.role_arn),
        ("--external-id", place.external_id),
        ("--profile", place.profile),
    ):
        words += [option, value] if value else []
    return ExecPlugin("podbay", tuple(words))


def _gke_plugin() -> ExecPlugin:
    from podbay.kube.config import ExecPlugin

    hint = "Install gke-gcloud-auth-plugin (it comes with Google's package google-cloud-cli-gke-gcloud-auth-plugin)."
    return ExecPlugin(
        "gke-gcloud-auth-plugin",
        api_version="client.authentication.k8s.io/v1beta1",
        install_hint=hint,
        provide_cluster_info=True,
    )


async def open_cloud(place: EksPlace | GkePlace, namespace: str) -> Opened:
    """Ask the cloud as the identity that the place names. Raises InvalidInputError for an AWS connection that is not here."""
    from podbay.aws.place import EksPlace
    from podbay.connections.clouds import open_eks, open_gke

    if isinstance(place, EksPlace):
        return await open_eks(place, _login(place.aws_conn_id), namespace=namespace)
    return await open_gke(place)


def _login(connection: str) -> AwsLogin:
    from podbay.aws.place import AwsLogin
    from podbay.connections.clouds import login_of_variable
    from podbay.connections.entry import variable_of

    if not connection:
        return AwsLogin()
    variable = variable_of(connection)
    if variable not in os.environ:
        # Airflow's REST API gives no passwords away.
        raise InvalidInputError(
            f"connection {connection}: {variable} is not set here, so nothing can be asked as it. Set it, or write the "
            "connection with --unproven."
        )
    return login_of_variable(connection, os.environ[variable])
