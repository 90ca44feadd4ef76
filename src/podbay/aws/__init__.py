"""Amazon EKS without the AWS command line: where a cluster is, tokens for it, and who may do what there.

    token       a presigned request of STS as a bearer token (pure)
    place       what a connection says of a cluster; what Airflow's AWS connections say of an identity (pure)
    eks         DescribeCluster and the source of tokens: a ClusterConfig that renews itself
    access_policy -> access    access entries, access policies and trust policies: what is wanted (pure), and calling AWS

Calls of AWS go through registries/amazon/session.py. Needs the extra `aws` (boto3), loaded when first used.
"""

from __future__ import annotations

import importlib
from typing import Any


def __getattr__(name: str) -> Any:
    # For DAG files: podbay.aws.EksNodegroup. It stands where Airflow is known (docs/nodegroups.md).
    if name == "EksNodegroup":
        try:
            return importlib.import_module("podbay.airflow.nodegroup").EksNodegroup
        except ImportError as error:
            from podbay.extras import pip_install

            raise ImportError(
                "podbay.aws.EksNodegroup needs Apache Airflow 3.3 or newer: "
                f"{pip_install('airflow', 'aws')} ({error})"
            ) from error
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
