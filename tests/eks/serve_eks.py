"""AWS with one EKS cluster for the examples of docs/eks.md: writes an environment file, lives until it is ended.

usage: serve_eks.py DIRECTORY

The file DIRECTORY/environment leads boto3 here, as the user `airflow`, and has the program `aws` on its PATH. The
cluster's nodes are scripted: a container of the image ubuntu says what an `echo` would.
"""

from __future__ import annotations

import os
import shlex
import signal
import sys
from pathlib import Path

from aws_stand_in import AwsStandIn

from podbay.embedded.nodes import scripted_nodes

HERE = Path(__file__).parent
NODES = """
nodes:
  - name: worker
script:
  rules:
    - match: {image: "ubuntu*"}
      containers: {"*": [{run: 200ms, log: ["hello"]}]}
"""


def main() -> None:
    directory = Path(sys.argv[1]).absolute()
    directory.mkdir(exist_ok=True)
    # Read when the first policy is asked for.
    os.environ["MOTO_IAM_LOAD_MANAGED_POLICIES"] = "true"
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    program = directory / "aws"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{HERE}/aws_program.py" "$@"\n')
    program.chmod(0o755)
    nodes = directory / "nodes.yaml"
    nodes.write_text(NODES)
    with AwsStandIn.started() as aws, aws.cluster("gpu-cluster", directory, nodes=scripted_nodes(nodes)):
        keys = aws.user("airflow")
        told = keys.environment(aws.address) | {
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_PROGRAM_RUNS": str(directory / "runs"),
        }
        lines = [f"export {name}={shlex.quote(value)}" for name, value in told.items()]
        lines.append(f'export PATH={shlex.quote(str(directory))}:"$PATH"')
        ready = directory / "environment.new"
        ready.touch(mode=0o600)
        ready.write_text("\n".join(lines) + "\n")
        ready.rename(directory / "environment")
        while True:
            signal.pause()


if __name__ == "__main__":
    main()
