"""Run by an ordinary user: `rootless_run.py BASE ARCHIVE STEP`. Prints what it saw as JSON."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "shared"))

from podbay.errors import StartError
from podbay.node.runc.rootless import command_as_root

BASE, ARCHIVE, STEP = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
if os.geteuid() != 0:
    command = command_as_root(BASE, [sys.executable, *sys.argv])
    os.execvp(command[0], command)

from podbay.node.runc.runtime import RuncRuntime  # noqa: E402 - after the move into the namespace
from podbay.node.specs import Limits, Mount, User, VolumeSource, VolumeSpec  # noqa: E402
from pods import PodMaker  # noqa: E402


async def main() -> None:
    async with RuncRuntime(BASE) as runtime:
        await runtime.load_images(ARCHIVE)
        async with PodMaker.open(runtime) as pods:
            print(json.dumps(await (first(pods) if STEP == "first" else second(pods))))


async def first(pods: PodMaker) -> dict[str, object]:
    features = (await pods.runtime.info()).features
    await pods.runtime.create_volume(VolumeSpec(name="u/v", memory=True))
    mounts = [Mount(source=VolumeSource("u/v"), target="/v")]
    long = await pods.start(
        "sh",
        "-c",
        "echo up; sleep 1; touch /v/still; sleep 1000",
        mounts=mounts,
        limits=Limits(memory=9 << 20),
    )
    answer = await pods.exec(long.id, "hostname")
    return {
        "limits": features.memory_limit,
        "users": features.users,
        "notes": list(features.notes),
        "output": await pods.run("sh", "-c", "id -u; touch /x && ls /x; ls /sys/class/net; exit 3"),
        "user": await _as_other_user(pods),
        "host": await pods.run("ls", "/sys/class/net", sandbox=await pods.sandbox(host_network=True)),
        "shared": await pods.run("ps", sandbox=await pods.sandbox(share_processes=True)),
        "exec": answer.stdout,
        "long": long.id,
    }


async def _as_other_user(pods: PodMaker) -> object:
    try:
        return await pods.run("id", "-u", user=User(uid=1000))
    except StartError as error:
        return str(error)


async def second(pods: PodMaker) -> dict[str, object]:
    state = await pods.runtime.list()
    running = [c for c in state.containers if c.state == "running"]
    wait = "until [ -e /v/still ]; do sleep 0.05; done; ls /v"
    answer = await pods.exec(running[0].id, "sh", "-c", wait)
    seen = {
        "running": [c.id for c in running],
        "ready": [s.ready for s in state.sandboxes],
        "volume": answer.stdout,
    }
    await pods.runtime.reset()
    return seen


asyncio.run(main())
