"""What docs/registries.md takes for granted: a registry with a password, and clouds with a registry each, on this machine.

Prints the registry's address, lives until it is ended; DIRECTORY/clouds.env says where the clouds are.

usage: serve_registry.py DIRECTORY, with tests/node, tests/shared and tests/registries on PYTHONPATH
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from contextlib import AsyncExitStack
from pathlib import Path

import boto3
import cloud_parts
import images
from cloud_parts import Tokens, amazon, cloud_registry, entra, google, proxy
from moto.server import ThreadedMotoServer
from self_signed import Authority

import registries

ECR = "123456789012.dkr.ecr.eu-central-1.amazonaws.com"
HOSTS = {"ecr": ECR, "google": "europe-west1-docker.pkg.dev", "azure": "corp.azurecr.io"}


def push_images(address: str) -> None:
    tool = images.build(
        [images.Layer().add("etc/name", "tool")], {"Entrypoint": ["/bin/tool"]}, architecture="amd64"
    )
    registries.push(address, "team/tool", "1", *tool.manifest())
    registries.push(address, "team/shell", "1", *images.busybox().manifest())


def make_account(address: str) -> None:
    """What an account has that pulls: a role of nodes and a repository."""
    session = boto3.Session("testing", "testing", region_name=cloud_parts.REGION)
    trust = '{"Version": "2012-10-17", "Statement": []}'
    session.client("iam", endpoint_url=address).create_role(
        RoleName="eks-nodes", AssumeRolePolicyDocument=trust
    )
    session.client("ecr", endpoint_url=address).create_repository(repositoryName="team/tool")


async def clouds(stack: AsyncExitStack, directory: Path) -> dict[str, str]:
    """The environment in which the clouds' names and tools lead to this machine."""
    authority = Authority.make(directory, *HOSTS.values())
    tokens = {
        "ecr": Tokens("AWS"),
        "google": Tokens("oauth2accesstoken"),
        "azure": Tokens("00000000-0000-0000-0000-000000000000", as_jwt=True),
    }
    places = {}
    for kind, host in HOSTS.items():
        registry = await stack.enter_async_context(cloud_registry(tokens[kind], authority))
        registry.put("1", images.busybox())
        places[host] = registry.address
    moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    moto.start()
    stack.callback(moto.stop)
    host, port = moto.get_host_and_port()
    make_account(f"http://{host}:{port}")
    return {
        "SSL_CERT_FILE": str(authority.certificate),
        "HTTPS_PROXY": await stack.enter_async_context(proxy(places)),
        "NO_PROXY": "127.0.0.1,localhost",
        "AWS_ENDPOINT_URL": await stack.enter_async_context(amazon(f"http://{host}:{port}", tokens["ecr"])),
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": cloud_parts.REGION,
        "GOOGLE_APPLICATION_CREDENTIALS": str(
            await stack.enter_async_context(google(directory, tokens["google"]))
        ),
        **(await stack.enter_async_context(entra())),
    }


async def main() -> None:
    directory = Path(sys.argv[1])
    directory.mkdir()
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    # As long as tokens of Amazon live.
    cloud_parts.LIFE = 12 * 3600.0
    os.environ["MOTO_IAM_LOAD_MANAGED_POLICIES"] = "true"
    async with AsyncExitStack() as stack:
        environment = await clouds(stack, directory)
        lines = [f"export {name}='{value}'\n" for name, value in environment.items()]
        (directory / "clouds.env").write_text("".join(lines))
        address = stack.enter_context(registries.docker_registry(directory, auth=True))
        await asyncio.to_thread(push_images, address)
        sys.stdout.write(address + "\n")
        sys.stdout.flush()
        await ended.wait()


if __name__ == "__main__":
    asyncio.run(main())
