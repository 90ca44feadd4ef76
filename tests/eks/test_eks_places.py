"""What connections say of EKS clusters and of identities, and the token of a presigned URL."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from podbay.airflow.connection import choose_cluster, cloud_place
from podbay.aws.place import FIELD, EksPlace, read_aws_login
from podbay.aws.token import token_of
from podbay.errors import InvalidInputError
from podbay.kube.config import ClusterConfig
from podbay.kube.places import read_place

PLACE = {"cluster_name": "gpu-cluster", "region": "us-east-1"}
ARN = "arn:aws:eks:us-east-1:123456789012:cluster/gpu-cluster"


def test_a_place_comes_back_from_its_connection() -> None:
    place = EksPlace(**PLACE, role_arn="arn:aws:iam::123456789012:role/caller", aws_conn_id="aws")
    assert read_place(EksPlace, place.to_extra(), field=FIELD, connection="k") == place
    assert set(place.to_extra()) == {"cluster_name", "region", "role_arn", "aws_conn_id"}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"region": "moon"}, "connection k: podbay_eks.region: 'moon' is none; write it as us-east-1"),
        ({"cluster_name": ""}, "podbay_eks.cluster_name: '' is none"),
        ({"role_arn": "caller"}, "'caller' is no role; write arn:aws:iam::"),
        ({"aws_conn_id": "a", "profile": "b"}, "aws_conn_id and profile are two identities; keep one"),
        ({"regoin": "x"}, "regoin is not known; there are aws_conn_id, cluster_name"),
        ({"region": 7}, "must be a JSON object of texts"),
    ],
)
def test_a_place_that_cannot_be(change: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        read_place(EksPlace, {**PLACE, **change}, field=FIELD, connection="k")
    assert said in str(caught.value)


def test_identities_of_airflow() -> None:
    extra = {
        "role_arn": "arn:aws:iam::123456789012:role/a",
        "assume_role_kwargs": {"ExternalId": "x"},
        "endpoint_url": "http://all",
        "service_config": {"sts": {"endpoint_url": "http://sts"}},
    }
    found = read_aws_login("aws", login="AKIA", password="hidden", extra=extra)
    assert (found.access_key, found.secret_key.reveal(), found.external_id) == ("AKIA", "hidden", "x")
    assert found.endpoints == {"": "http://all", "sts": "http://sts"}
    assert "hidden" not in repr(found)


@pytest.mark.parametrize(
    ("login", "extra", "said"),
    [
        ("AKIA", {}, "connection aws: an access key needs both"),
        (
            None,
            {"role_arn": "r", "assume_role_method": "assume_role_with_saml"},
            "assume_role_with_saml is not supported",
        ),
    ],
)
def test_identities_that_cannot_be_had(login: str | None, extra: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidInputError, match=said):
        read_aws_login("aws", login=login, password=None, extra=extra)


def test_a_token_is_its_url() -> None:
    url = "https://sts.us-east-1.amazonaws.com/?Action=GetCallerIdentity"
    token = token_of(url)
    head, _, body = token.partition(".")
    assert head == "k8s-aws-v1"
    assert "=" not in body
    assert base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)).decode() == url


def test_two_ways_to_say_which_cluster() -> None:
    extras = {"podbay_eks": PLACE, "kube_config": "{}"}
    with pytest.raises(InvalidInputError) as caught:
        cloud_place({}, extras, connection="k")
    assert str(caught.value) == (
        "connection k: kube_config and podbay_eks: only one of them can say which cluster is meant"
    )
    with pytest.raises(InvalidInputError, match="Set in_cluster=False in the task"):
        cloud_place({"in_cluster": True}, {"podbay_eks": PLACE}, connection="k")


def test_the_context_of_the_cluster_is_its_arn() -> None:
    config = ClusterConfig(server="https://x", context=ARN)
    extras = {"podbay_eks": PLACE}
    for context in (None, ARN, "gpu-cluster"):
        choice = choose_cluster({"cluster_context": context}, extras, connection="k", cloud=config)
        assert choice.config.server == "https://x"
    with pytest.raises(InvalidInputError, match=f"'other' is another cluster; this one is {ARN}"):
        choose_cluster({"cluster_context": "other"}, extras, connection="k", cloud=config)
