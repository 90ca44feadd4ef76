"""Roles of nodes that pull from ECR by themselves: a managed policy attached, one of our own, or a CloudFormation template.

Source: spec 59-62 and B-13. What is there already is left; every call can be shown instead of made.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final, Literal, TypeAlias

import orjson
import yaml

from podbay.errors import InvalidInputError
from podbay.registries.amazon.session import Aws, AwsCall

__all__ = ["INLINE_NAME", "PolicyChoice", "cloudformation_template", "grant_calls", "pull_policy"]

PolicyChoice: TypeAlias = Literal["read-only", "pull-only", "custom"]
INLINE_NAME: Final = "podbay-ecr-pull"
_MANAGED: Final = {
    "read-only": "AmazonEC2ContainerRegistryReadOnly",
    "pull-only": "AmazonEC2ContainerRegistryPullOnly",
}
_LOGIN: Final = ["ecr:GetAuthorizationToken"]
_READ: Final = [
    "ecr:BatchCheckLayerAvailability",
    "ecr:GetDownloadUrlForLayer",
    "ecr:GetRepositoryPolicy",
    "ecr:DescribeRepositories",
    "ecr:ListImages",
    "ecr:BatchGetImage",
]
_ROLE: Final = re.compile(r"[\w+=,.@-]{1,64}")


def pull_policy() -> dict[str, Any]:
    """The custom policy: the login, which has no resource of its own, and reading (spec 60)."""
    return {
        "Version": "2012-10-17",
        "Statement": [
            {"Sid": "EcrLogin", "Effect": "Allow", "Action": _LOGIN, "Resource": "*"},
            {"Sid": "EcrReadPull", "Effect": "Allow", "Action": _READ, "Resource": "*"},
        ],
    }


async def grant_calls(
    aws: Aws, roles: Sequence[str], choice: PolicyChoice, *, partition: str = "aws"
) -> list[AwsCall]:
    """The calls that are still needed for these roles; none for what they have. Raises InvalidInputError for no such role."""
    needed = []
    for role in dict.fromkeys(roles):
        if not _ROLE.fullmatch(role):
            raise InvalidInputError(f"role {role!r}: give its name, not its ARN")
        call = await _needed(aws, role, choice, partition)
        if call is not None:
            needed.append(call)
    return needed


async def _needed(aws: Aws, role: str, choice: PolicyChoice, partition: str) -> AwsCall | None:
    try:
        await aws.do(AwsCall("iam", "get-role", {"RoleName": role}))
    except KeyError as err:
        raise InvalidInputError(f"IAM has no role {role}; the roles of nodes: aws iam list-roles") from err
    if choice == "custom":
        if await _inline(aws, role) == pull_policy():
            return None
        document = orjson.dumps(pull_policy()).decode()
        parameters = {"RoleName": role, "PolicyName": INLINE_NAME, "PolicyDocument": document}
        return AwsCall("iam", "put-role-policy", parameters)
    arn = f"arn:{partition}:iam::aws:policy/{_MANAGED[choice]}"
    if arn in await _attached(aws, role):
        return None
    return AwsCall("iam", "attach-role-policy", {"RoleName": role, "PolicyArn": arn})


async def _attached(aws: Aws, role: str) -> list[str]:
    found: list[str] = []
    marker: dict[str, str] = {}
    while True:
        answer = await aws.do(AwsCall("iam", "list-attached-role-policies", {"RoleName": role, **marker}))
        found += [str(each["PolicyArn"]) for each in answer.get("AttachedPolicies") or ()]
        if not answer.get("IsTruncated"):
            return found
        marker = {"Marker": str(answer["Marker"])}


async def _inline(aws: Aws, role: str) -> Any:
    try:
        answer = await aws.do(
            AwsCall("iam", "get-role-policy", {"RoleName": role, "PolicyName": INLINE_NAME})
        )
    except KeyError:
        return None
    # boto3 has read the JSON already.
    return answer.get("PolicyDocument")


def cloudformation_template(choice: PolicyChoice = "custom") -> str:
    """A role and instance profile for nodes, as YAML for `aws cloudformation deploy --capabilities CAPABILITY_NAMED_IAM`."""
    trust = {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Principal": {"Service": ["ec2.amazonaws.com"]}, "Action": ["sts:AssumeRole"]}
        ],
    }
    role: dict[str, Any] = {"RoleName": _ref("RoleName"), "Path": "/", "AssumeRolePolicyDocument": trust}
    if choice == "custom":
        role["Policies"] = [{"PolicyName": INLINE_NAME, "PolicyDocument": pull_policy()}]
    else:
        role["ManagedPolicyArns"] = [
            {"Fn::Sub": f"arn:${{AWS::Partition}}:iam::aws:policy/{_MANAGED[choice]}"}
        ]
    template = {
        "AWSTemplateFormatVersion": "2010-09-09",
        "Description": "Role and instance profile by which Kubernetes nodes pull images from private ECR repositories",
        "Parameters": {"RoleName": {"Type": "String", "Default": "k8s-node-ecr-pull"}},
        "Resources": {
            "NodeRole": {"Type": "AWS::IAM::Role", "Properties": role},
            "NodeInstanceProfile": {
                "Type": "AWS::IAM::InstanceProfile",
                "Properties": {"Path": "/", "Roles": [_ref("NodeRole")]},
            },
        },
        "Outputs": {
            "NodeRoleArn": {"Value": {"Fn::GetAtt": ["NodeRole", "Arn"]}},
            "NodeInstanceProfileArn": {"Value": {"Fn::GetAtt": ["NodeInstanceProfile", "Arn"]}},
        },
    }
    return yaml.safe_dump(template, sort_keys=False, width=110)


def _ref(name: str) -> dict[str, str]:
    return {"Ref": name}
