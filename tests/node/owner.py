"""A process that owns a runtime, starts what it is told and is then killed: `owner.py KIND BASE`.

Reads one JSON object on stdin (container name to shell script, each in a pod of its own), prints the ids as JSON once
all have been started, and waits for its end.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "shared"))

from runtimes import KINDS

from podbay.node.specs import ContainerSpec, Limits, SandboxSpec


async def main() -> None:
    kind, base, scripts = KINDS[sys.argv[1]], Path(sys.argv[2]), json.load(sys.stdin)
    ids = {}
    async with kind.open(base) as runtime:
        image = await runtime.find_image("localhost/bb:1")
        assert image is not None
        for name, script in scripts.items():
            sandbox = await runtime.create_sandbox(
                SandboxSpec(
                    pod_uid=f"uid-{name}",
                    pod_name=name,
                    pod_namespace="n",
                    hostname=name,
                    labels={"pod": name},
                )
            )
            spec = ContainerSpec(
                name=name,
                image="localhost/bb:1",
                image_id=image.id,
                command=["sh", "-c", script],
                labels={"container": name},
                limits=Limits(memory=32 << 20),
                message_path="/dev/termination-log",
            )
            created = await runtime.create_container(sandbox.id, spec)
            if not name.startswith("unstarted"):
                await runtime.start_container(created.id)
            ids[name] = created.id
        print(json.dumps(ids), flush=True)
        await asyncio.sleep(1000)


asyncio.run(main())
