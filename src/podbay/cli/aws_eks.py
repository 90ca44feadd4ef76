"""`podbay aws eks-access`, `trust-policy` and `eks-token`: what EKS and IAM must be told, and a token for other programs."""

from __future__ import annotations

import os
import sys
from typing import Annotated, Final

import orjson
import typer

from podbay.cli.output import console, errors_as_sentences, print_json, run
from podbay.errors import InvalidInputError

# Functions import what they need, as in cluster.py.

__all__ = ["register"]

_GROUP: Final = "client.authentication.k8s.io/"
Region = Annotated[
    str,
    typer.Option(
        "--region",
        envvar=["AWS_REGION", "AWS_DEFAULT_REGION"],
        help="That of AWS's configuration when absent.",
    ),
]
Profile = Annotated[str, typer.Option("--profile", help="Of AWS's files.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("eks-access")(_access)
    app.command("trust-policy")(_trust)
    app.command("eks-token")(_token)


def _access(
    cluster: Annotated[str, typer.Argument(help="Name of the EKS cluster.")],
    principal: Annotated[str, typer.Option(help="ARN of a role or user; who asks, when absent.")] = "",
    namespace: Annotated[
        list[str] | None, typer.Option("--namespace", "-n", help="Where the policy holds.")
    ] = None,
    everywhere: Annotated[
        bool, typer.Option("--everywhere", help="The policy holds in all namespaces.")
    ] = False,
    policy: Annotated[
        str, typer.Option(help="view, edit, admin, cluster-admin, or none: groups alone.")
    ] = "edit",
    group: Annotated[
        list[str] | None, typer.Option(help="Group of Kubernetes, for bindings of your own.")
    ] = None,
    region: Region = "",
    profile: Profile = "",
    check: Annotated[bool, typer.Option("--check", help="Say what is missing; exit code 1 then.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the calls of AWS instead of making them.")
    ] = False,
) -> None:
    """Let an identity of AWS make pods in an EKS cluster: access entry and access policy. What is there stays."""
    missing: list[str] = []
    with errors_as_sentences():
        from podbay.aws.access import caller_arn, grant_access, missing_access
        from podbay.aws.access_policy import Access, principal_of
        from podbay.registries.amazon.session import Aws

        aws = Aws(profile=profile or None)
        named = "" if policy == "none" else policy
        if named and not namespace and not everywhere:
            raise InvalidInputError(
                "say where it holds: --namespace NAME, or --everywhere for all namespaces"
            )
        wanted = Access(
            cluster=cluster,
            region=region,
            principal=principal_of(principal or run(caller_arn(aws, region))),
            policy=named,
            namespaces=() if everywhere else tuple(namespace or ()),
            groups=tuple(group or ()),
        )
        looked = missing_access(aws, wanted) if check or dry_run else grant_access(aws, wanted)
        missing = [str(each) for each in run(looked)]
        for each in missing:
            sys.stdout.write(each + "\n")
        if not missing:
            console.print(f"{wanted.principal} is let in already: nothing to do.", markup=False)
    if check and missing:
        raise typer.Exit(1)


def _trust(
    kind: Annotated[str, typer.Argument(help="caller, cluster, node, pod-identity or irsa.")],
    principal: Annotated[
        list[str] | None, typer.Option(help="caller: ARN of who runs Airflow, or an account.")
    ] = None,
    external_id: Annotated[str, typer.Option(help="caller: that must be named, too.")] = "",
    provider: Annotated[str, typer.Option(help="irsa: ARN of the cluster's OIDC provider.")] = "",
    service_account: Annotated[str, typer.Option(help="irsa: NAMESPACE:NAME.")] = "",
) -> None:
    """Print the trust policy of a role: who may assume it. Calls nothing."""
    with errors_as_sentences():
        from podbay.aws.access_policy import trust_policy

        found = trust_policy(
            kind,
            principals=principal or (),
            external_id=external_id,
            provider=provider,
            service_account=service_account,
        )
        print_json(found)


def _token(
    cluster: Annotated[str, typer.Argument(help="Name of the EKS cluster.")],
    region: Annotated[
        str, typer.Option(envvar=["AWS_REGION", "AWS_DEFAULT_REGION"], help="Where the cluster is.")
    ],
    role_arn: Annotated[str, typer.Option(help="Assumed first.")] = "",
    external_id: Annotated[str, typer.Option(help="That the role's trust policy asks for.")] = "",
    profile: Profile = "",
) -> None:
    """Print a token as credential plugins do, for kubectl and upstream's operators: `aws eks get-token` without the AWS CLI."""
    with errors_as_sentences():
        from podbay.aws.eks import mint_token
        from podbay.aws.place import EksPlace

        place = EksPlace(
            cluster_name=cluster, region=region, role_arn=role_arn, external_id=external_id, profile=profile
        )
        minted = run(mint_token(place))
        status: dict[str, str] = {"token": minted.token.reveal()}
        if minted.expires is not None:
            status["expirationTimestamp"] = minted.expires.strftime("%Y-%m-%dT%H:%M:%SZ")
        version = _asked_version(os.environ.get("KUBERNETES_EXEC_INFO", ""))
        print_json(
            {
                "apiVersion": version,
                "kind": "ExecCredential",
                "spec": {"interactive": False},
                "status": status,
            }
        )


def _asked_version(info: str) -> str:
    """The version in which the caller wants its answer."""
    try:
        asked = str(orjson.loads(info)["apiVersion"])
    except (orjson.JSONDecodeError, KeyError, TypeError):
        asked = ""
    return asked if asked.startswith(_GROUP) else f"{_GROUP}v1"
