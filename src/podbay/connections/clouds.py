"""What a cloud is asked before a cluster of its is: who we are there, and where the cluster is. Steps as in steps.py."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import orjson

from podbay.aws.access import caller_arn
from podbay.aws.access_policy import principal_of
from podbay.aws.eks import eks_config, identity_of
from podbay.aws.place import AwsLogin, EksPlace, read_aws_login
from podbay.connections.probing import Advice
from podbay.connections.steps import Step, sentences
from podbay.errors import InvalidInputError, PodbayError
from podbay.gke.cluster import gke_config
from podbay.gke.place import GkePlace
from podbay.kube.config import ClusterConfig

__all__ = ["Opened", "login_of_variable", "open_eks", "open_gke"]

_NOBODY: Final = AwsLogin()


@dataclass(frozen=True, kw_only=True)
class Opened:
    """What was found; config None: the last step has failed."""

    steps: tuple[Step, ...]
    config: ClusterConfig | None = None
    advice: Advice = field(default_factory=Advice)


async def open_eks(place: EksPlace, login: AwsLogin = _NOBODY, *, namespace: str = "") -> Opened:
    """Identity and cluster, by AWS."""
    try:
        arn = await caller_arn(await identity_of(place, login), place.region)
    except PodbayError as err:
        return Opened(steps=(_failed("identity", err),))
    steps = (Step("identity", "ok", f"as {arn}"),)

    async def same() -> AwsLogin:
        return login

    try:
        config = await eks_config(place, same)
    except PodbayError as err:
        return Opened(steps=(*steps, _failed("cluster", err)))
    fix = (
        f"Let it in: podbay aws eks-access {place.cluster_name} --region {place.region} --principal {_entry(arn, place)} "
        f"--namespace {namespace or 'default'}"
    )
    step = Step("cluster", "ok", f"{place} is {config.server}")
    advice = Advice(unknown=f"{fix}.", denied=f"{fix}.")
    return Opened(steps=(*steps, step), config=config, advice=advice)


def _entry(arn: str, place: EksPlace) -> str:
    """Whom an access entry must name: a role in full where we know it, for a session does not tell its path."""
    try:
        return place.role_arn or principal_of(arn)
    except InvalidInputError:
        return arn


async def open_gke(place: GkePlace) -> Opened:
    """Identity and cluster, by Google."""
    try:
        config = await gke_config(place)
    except PodbayError as err:
        return Opened(steps=(_failed("cluster", err),))
    fix = (
        f"Grant it roles/container.developer in project {place.project}, or bind a Role of Kubernetes to it."
    )
    step = Step("cluster", "ok", f"{place} is {config.server}")
    return Opened(steps=(step,), config=config, advice=Advice(unknown=fix, denied=fix))


def _failed(name: str, err: PodbayError) -> Step:
    return Step(name, "failed", *sentences(str(err)))


def login_of_variable(name: str, value: str) -> AwsLogin:
    """An AWS connection from the JSON of its environment variable. Raises InvalidInputError."""
    variable = f"AIRFLOW_CONN_{name.upper()}"
    try:
        document = orjson.loads(value)
        extra = document.get("extra") or {}
        if isinstance(extra, str):
            extra = orjson.loads(extra)
        if not isinstance(extra, dict):
            raise ValueError
    except (ValueError, AttributeError):
        # The parser's own words quote what stands there, which may be a secret.
        raise InvalidInputError(
            f'{variable} is not JSON; write it as {{"conn_type": "aws", "login": …, "password": …, "extra": {{…}}}}'
        ) from None
    return read_aws_login(name, login=document.get("login"), password=document.get("password"), extra=extra)
