"""The program `aws` for these tests, with boto3 in the place of the AWS command line: `aws SERVICE OPERATION --option VALUE`.

Of what the command line itself adds, `eks get-token` and `eks update-kubeconfig` are there. Each run is a line in the file
$AWS_PROGRAM_RUNS.
"""

from __future__ import annotations

import base64
import json
import os
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import yaml

GLOBAL = {"region", "profile", "output"}
QUIET = {"query"}


def main() -> None:
    words = sys.argv[1:]
    if runs := os.environ.get("AWS_PROGRAM_RUNS"):
        with Path(runs).open("a") as file:
            file.write(" ".join(words) + "\n")
    plain: list[str] = []
    options: dict[str, str] = {}
    while words:
        word = words.pop(0)
        if word.startswith("--"):
            name, _, value = word[2:].partition("=")
            options[name] = value or (words.pop(0) if words and not words[0].startswith("--") else "")
        else:
            plain.append(word)
    service, operation = plain[0], plain[1]
    session = boto3.Session(
        region_name=options.pop("region", None), profile_name=options.pop("profile", None)
    )
    if (service, operation) == ("eks", "get-token"):
        say(token(session, options))
    elif (service, operation) == ("eks", "update-kubeconfig"):
        update_kubeconfig(session, options)
    else:
        say(call(session, service, operation, options))


def say(document: Any) -> None:
    if document:
        sys.stdout.write(json.dumps(document, default=str, indent=4) + "\n")


def call(session: boto3.Session, service: str, operation: str, options: dict[str, str]) -> Any:
    client = session.client(service)
    name = operation.replace("-", "_")
    model = client.meta.service_model.operation_model(client.meta.method_to_api_mapping[name])
    members = {kebab(each): (each, shape) for each, shape in model.input_shape.members.items()}
    given = {}
    for option, text in options.items():
        if option not in QUIET | GLOBAL:
            member, shape = members[option]
            given[member] = value_of(text, shape)
    answer = getattr(client, name)(**given)
    answer.pop("ResponseMetadata", None)
    return answer


def kebab(name: str) -> str:
    return "".join(f"-{each.lower()}" if each.isupper() else each for each in name).lstrip("-")


def value_of(text: str, shape: Any) -> Any:
    if text.startswith("file://"):
        text = Path(text.removeprefix("file://")).read_text()
    if shape.type_name == "string":
        return text
    if shape.type_name in ("integer", "long"):
        return int(text)
    if text.lstrip().startswith(("{", "[")):
        return json.loads(text)
    if shape.type_name == "list":
        return text.split(",")
    found: dict[str, Any] = {}
    for part in text.split(","):
        name, _, value = part.partition("=")
        member = shape.members[name]
        found[name] = [value] if member.type_name == "list" else value_of(value, member)
    return found


def token(session: boto3.Session, options: dict[str, str]) -> dict[str, Any]:
    role = options.get("role") or options.get("role-arn")
    if role:
        given = session.client("sts").assume_role(RoleArn=role, RoleSessionName="EKSGetTokenAuth")[
            "Credentials"
        ]
        session = boto3.Session(
            given["AccessKeyId"],
            given["SecretAccessKey"],
            given["SessionToken"],
            region_name=session.region_name,
        )
    client = session.client("sts")

    def name_cluster(request: Any, **_: Any) -> None:
        request.headers["x-k8s-aws-id"] = options["cluster-name"]

    client.meta.events.register("before-sign.sts.GetCallerIdentity", name_cluster)
    url = client.generate_presigned_url("get_caller_identity", ExpiresIn=60, HttpMethod="GET")
    end = datetime.now(UTC) + timedelta(minutes=14)
    info = json.loads(os.environ.get("KUBERNETES_EXEC_INFO") or "{}")
    return {
        "kind": "ExecCredential",
        "apiVersion": info.get("apiVersion", "client.authentication.k8s.io/v1beta1"),
        "spec": {},
        "status": {
            "expirationTimestamp": end.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "token": "k8s-aws-v1." + base64.urlsafe_b64encode(url.encode()).decode().rstrip("="),
        },
    }


def update_kubeconfig(session: boto3.Session, options: dict[str, str]) -> None:
    found = session.client("eks").describe_cluster(name=options["name"])["cluster"]
    arn, path = found["arn"], Path(options["kubeconfig"])
    args = ["--region", session.region_name, "eks", "get-token", "--cluster-name", options["name"]]
    if options.get("role-arn"):
        args += ["--role", options["role-arn"]]
    cluster = {
        "certificate-authority-data": found["certificateAuthority"]["data"],
        "server": found["endpoint"],
    }
    plugin = {
        "apiVersion": "client.authentication.k8s.io/v1beta1",
        "args": args,
        "command": "aws",
        "env": None,
        "interactiveMode": "IfAvailable",
        "provideClusterInfo": False,
    }
    document = {
        "apiVersion": "v1",
        "clusters": [{"cluster": cluster, "name": arn}],
        "contexts": [{"context": {"cluster": arn, "user": arn}, "name": arn}],
        "current-context": arn,
        "kind": "Config",
        "preferences": {},
        "users": [{"name": arn, "user": {"exec": plugin}}],
    }
    path.write_text(yaml.safe_dump(document))
    sys.stdout.write(f"Added new context {arn} to {path.absolute()}\n")


main()
