"""A DAG whose images come from every kind of registry, in real containers on `podbay cluster start`, while logins change.

`podbay run` is that of .venv-airflow; clouds and their tools are in the environment that runs this test. A token that has
been used before the change does not open anything after it.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import images
import pytest
from cloud_parts import Plugin, Tokens, amazon, cloud_registry, entra, google, proxy
from moto.server import ThreadedMotoServer
from patience import PATIENCE, eventually
from registry_parts import SERVICE, TokenServer
from self_signed import Authority

import registries
from podbay.embedded.containers import runtime_available
from registries import PASSWORD, USER, free_address, htpasswd, serve

HERE = Path(__file__).parent
AIRFLOW = HERE.parents[1] / ".venv-airflow" / "bin" / "podbay"
PODBAY = Path(sys.executable).with_name("podbay")
ECR = "123456789012.dkr.ecr.eu-central-1.amazonaws.com"
GOOGLE = "europe-west1-docker.pkg.dev"
AZURE = "corp.azurecr.io"
INHERITED = ("PYTHONPATH", "PYTHONDONTWRITEBYTECODE")
TAGS = {"before": "1", "after": "2", "upstream": "3"}
SECRET_WORDS = (PASSWORD, "another-word", "-hidden-token-", "of-the-client", "of-entra")

pytestmark = [
    pytest.mark.root,
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not registries.has_registry(), reason="needs docker-registry and htpasswd"),
    pytest.mark.skipif(not runtime_available(), reason="needs root, runc and conmon"),
    pytest.mark.skipif(not AIRFLOW.exists(), reason="needs .venv-airflow: run script/setup"),
]


def image(kind: str, tag: str) -> images.BuiltImage:
    """busybox, and a layer that no other image has."""
    layer = images.Layer().add("etc/image", f"{kind}:{tag}\n")
    return images.build([images.busybox_layer(), layer], {"Env": ["PATH=/bin"]})


@dataclass
class World:
    """Every registry with its images, and the environment by which programs find the clouds."""

    directory: Path
    authority: Authority
    repositories: dict[str, str]
    """Kind to repository."""
    digests: dict[str, str]
    """Of each image, by kind:tag."""
    tokens: dict[str, Tokens]
    plugin: Plugin
    environment: dict[str, str]

    async def start(self, *words: str, program: Path = PODBAY, **more: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            program,
            *words,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=self.environment | more,
            cwd=self.directory,
        )

    async def __call__(self, *words: str, stdin: str = "") -> str:
        process = await self.start(*words)
        return await self.end(process, stdin=stdin)

    async def end(
        self, process: asyncio.subprocess.Process, *, stdin: str = "", seconds: float = PATIENCE
    ) -> str:
        out, err = await asyncio.wait_for(process.communicate(stdin.encode()), seconds)
        said = (out + err).decode()
        assert process.returncode == 0, said
        assert not [word for word in SECRET_WORDS if word in said], said
        return out.decode()


@asynccontextmanager
async def world(directory: Path) -> AsyncIterator[World]:
    async with AsyncExitStack() as stack:
        authority = Authority.make(directory, ECR, GOOGLE, AZURE)
        clouds = {
            "ecr": Tokens("AWS"),
            "google": Tokens("oauth2accesstoken"),
            "azure": Tokens("00000000-0000-0000-0000-000000000000", as_jwt=True),
        }
        hosts = {"ecr": ECR, "google": GOOGLE, "azure": AZURE}
        addresses, digests = {}, {}
        for kind, tokens in clouds.items():
            registry = await stack.enter_async_context(cloud_registry(tokens, authority))
            addresses[kind] = registry.address
            digests |= {f"{kind}:{tag}": registry.put(tag, image(kind, tag)) for tag in "123"}
        shelf = stack.enter_context(registries.docker_registry(directory))
        for kind in ("password", "token", "plugin"):
            for tag in "123":
                found = image(kind, tag).manifest()
                digests[f"{kind}:{tag}"] = registries.push(shelf, f"team/{kind}", tag, *found)
        data = directory / "data"
        locked = stack.enter_context(serve(directory, data, tls=authority.files, auth=htpasswd(directory)))
        guarded = await guarded_registry(stack, directory, data)
        (directory / "plugin").mkdir()
        of_plugin = stack.enter_context(serve(directory, data, auth=htpasswd(directory / "plugin")))
        plugin = Plugin(directory / "plugin", directory / "plugin" / "htpasswd", USER, sys.executable)
        plugin.rotate(PASSWORD)
        moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        moto.start()
        stack.callback(moto.stop)
        host, port = moto.get_host_and_port()
        endpoint = await stack.enter_async_context(amazon(f"http://{host}:{port}", clouds["ecr"]))
        account = await stack.enter_async_context(google(directory, clouds["google"]))
        client = await stack.enter_async_context(entra())
        places = {hosts[kind]: address for kind, address in addresses.items()}
        through = await stack.enter_async_context(proxy(places))
        yield World(
            directory,
            authority,
            {
                "password": f"{locked}/team/password",
                "token": f"{guarded}/team/token",
                "plugin": f"{of_plugin}/team/plugin",
                "ecr": f"{ECR}/desk/tool",
                "google": f"{GOOGLE}/proj/images/tool",
                "azure": f"{AZURE}/team/tool",
            },
            digests,
            clouds,
            plugin,
            {
                "HOME": str(directory),
                "PODBAY_HOME": str(directory / "home"),
                "PATH": f"{PODBAY.parent}:/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin",
                "LANG": "C.UTF-8",
                **{name: os.environ[name] for name in INHERITED if name in os.environ},
                "SSL_CERT_FILE": str(authority.certificate),
                "HTTPS_PROXY": through,
                "NO_PROXY": "127.0.0.1,localhost",
                "AWS_ENDPOINT_URL": endpoint,
                "AWS_ACCESS_KEY_ID": "testing",
                "AWS_SECRET_ACCESS_KEY": "testing",
                "AWS_DEFAULT_REGION": "eu-central-1",
                "GOOGLE_APPLICATION_CREDENTIALS": str(account),
                **client,
            },
        )


async def guarded_registry(stack: AsyncExitStack, directory: Path, data: Path) -> str:
    """The address of one that sends to a token server."""
    bundle = directory / "bundle.pem"
    server, address = TokenServer.make(bundle), free_address()
    await stack.enter_async_context(server.serve(address))
    auth = {
        "realm": f"http://{address}/token",
        "service": SERVICE,
        "issuer": "tokens",
        "rootcertbundle": str(bundle),
    }
    return stack.enter_context(serve(directory, data, auth={"token": auth}))


async def set_up(place: World) -> str:
    """A cluster, a deployment with all logins but that of the plugin; gives its namespace.

    That with a password is for pods with its images alone, all others are for every pod.
    """
    config = place.plugin.config(place.repositories["plugin"])
    await place(
        *("cluster", "start", "--runtime", "runc"),
        *("--image-credential-provider-config", str(config)),
        *("--image-credential-provider-bin-dir", str(config.parent)),
    )
    await place("init", "--name", "private", "--namespace", "quiet-harbor-1207")
    await place("apply", "--yes")
    for kind, attached in (("password", ("--for", f"{place.repositories['password']}*")), ("token", ())):
        repository = place.repositories[kind]
        words = ("-u", USER, "--image", f"{repository}:1", *attached)
        await place("registry", "add", repository.partition("/")[0], *words, stdin=f"{PASSWORD}\n")
    for kind in ("ecr", "google", "azure"):
        repository = place.repositories[kind]
        await place("registry", "add", repository.partition("/")[0], "--cloud", "--image", f"{repository}:1")
    await place("apply", "--yes")
    return "quiet-harbor-1207"


async def change_logins(place: World) -> dict[str, list[str]]:
    """End every token that was there until now, as soon as the refreshing process has put newer ones in their places."""
    old = {kind: list(tokens.minted) for kind, tokens in place.tokens.items()}
    for kind, tokens in place.tokens.items():
        # The one after the next has been minted: the next one is in the Secret.
        await eventually(lambda kind=kind, tokens=tokens: len(tokens.minted) >= len(old[kind]) + 2)
        tokens.end(old[kind])
    place.plugin.rotate("another-word")
    host, _, path = place.repositories["plugin"].partition("/")
    former = {"Authorization": "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()}
    async with (
        aiohttp.ClientSession(headers=former) as session,
        session.head(f"http://{host}/v2/{path}/manifests/2") as answer,
    ):
        assert answer.status == 401
    return old


def results(said: str) -> dict[str, dict[str, Any]]:
    found = json.loads(said)
    tasks = {each["task"]: each for each in found["tasks"]}
    for each in tasks.values():
        assert each["state"] == "success", each
    for name, each in tasks.items():
        files = list(Path(found["logs"]).rglob(f"task_id={name}/attempt=1.log*"))
        each["text"] = "\n".join(file.read_text() for file in files)
    return tasks


async def test_images_of_every_kind_while_logins_change(tmp_path: Path) -> None:
    async with world(tmp_path) as place, AsyncExitStack() as stack:
        stack.push_async_callback(place, "cluster", "reset", "--yes")
        namespace = await set_up(place)
        refreshing = await place.start("registry", "refresh", "--every", "1")
        stack.push_async_callback(refreshing.wait)
        stack.callback(refreshing.terminate)
        about = {
            "namespace": namespace,
            "directory": str(tmp_path),
            "repositories": place.repositories,
        }
        running = await place.start(
            *("run", str(HERE / "runs" / "private_images.py"), "-o", "json"),
            program=AIRFLOW,
            TESTS_PLACE=json.dumps(about),
            PODBAY_FILE=str(tmp_path / "podbay.yaml"),
        )
        ended = asyncio.ensure_future(place.end(running, seconds=600))
        stack.callback(ended.cancel)
        await eventually(lambda: (tmp_path / "reached").exists() or ended.done(), seconds=300)
        assert not ended.done(), await ended
        old = await change_logins(place)
        before = {kind: len(tokens.used) for kind, tokens in place.tokens.items()}
        (tmp_path / "changed").touch()
        tasks = results(await ended)
        recorded = json.loads((tmp_path / "images.json").read_text())
        for name, task in tasks.items():
            kind, _, when = name.partition("-")
            if kind not in place.repositories:
                continue
            image = f"{kind}:{TAGS[when]}"
            ran = f"{place.repositories[kind]}@{place.digests[image]}"
            assert f"[base] {image}" in task["text"]
            assert task["pod"]["imageID"] == ran
            if when != "upstream":
                assert recorded[name] == ran
                assert f"Its image was {ran}" in task["text"], task["text"]
        assert len(tasks) == 2 * len(place.repositories) + 4
        for kind, tokens in place.tokens.items():
            assert tokens.used[: before[kind]], "pods have pulled before"
            assert tokens.used[before[kind] :], "and after"
            assert not set(old[kind]) & set(tokens.used[before[kind] :])
