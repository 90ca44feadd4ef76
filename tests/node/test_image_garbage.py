"""Images that go when the disk is nearly full: which, in what order, and how many."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import images
import pytest
from images import Layer, build

import registries
from podbay.aio.virtual import VirtualClock
from podbay.node.image_garbage import ImageGarbage, Space, bytes_to_free, disk_space
from podbay.node.runc.runtime import RuncRuntime
from podbay.node.runtime import Runtime
from pods import PodMaker

pytestmark = pytest.mark.root

GIB = 1 << 30


@pytest.mark.parametrize(
    ("available", "wanted"), [(100, 0), (6, 0), (5.1, 0), (5, 5), (2, 8), (0, 10)], ids=str
)
def test_how_much_is_to_go(available: float, wanted: int) -> None:
    assert bytes_to_free(Space(100 * GIB, int(available * GIB))) == wanted * GIB


def test_the_space_of_a_directory(tmp_path: Path) -> None:
    space = disk_space(tmp_path)
    assert 0 < space.available <= space.capacity


def test_a_file_system_without_a_size_is_never_full() -> None:
    assert bytes_to_free(Space(0, 0)) == 0


@dataclass
class Told:
    """What the node's events say."""

    events: list[tuple[str, str, str]] = field(default_factory=list)

    def node(self, type: str, reason: str, message: str) -> None:  # noqa: A002
        self.events.append((type, reason, message))


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[str]:
    if not registries.has_registry():
        pytest.skip("needs docker-registry and htpasswd")
    with registries.docker_registry(tmp_path) as address:
        for name in ("old", "used", "young"):
            layers = [images.busybox_layer(), Layer().add("name", name + "x" * 10_000)]
            registries.push(address, name, "1", *build(layers, {}).manifest())
        yield address


@pytest.mark.skipif(os.geteuid() != 0, reason="runs containers")
async def test_unused_pulled_images_go_the_oldest_first(
    runtime: Runtime, pods: PodMaker, registry: str
) -> None:
    if not isinstance(runtime, RuncRuntime):
        pytest.skip("an engine's images are people's own")
    clock, told = VirtualClock(), Told()
    full = Space(100 * GIB, 0)
    free = Space(100 * GIB, 50 * GIB)
    now = [free]
    garbage = ImageGarbage(runtime, clock, told, lambda: now[0])  # type: ignore[arg-type]
    pulled = {}
    for name in ("old", "used"):
        pulled[name] = await runtime.pull_image(f"{registry}/{name}:1")
    sandbox = await pods.sandbox()
    spec = pods.spec("true", image=f"{registry}/used:1", image_id=pulled["used"].id)
    await runtime.create_container(sandbox.id, spec)
    await garbage.look()
    await clock.advance(100)
    pulled["young"] = await runtime.pull_image(f"{registry}/young:1")
    await clock.advance(100)

    await garbage.look()
    assert {image.id for image in await runtime.images()} >= {image.id for image in pulled.values()}

    now[0] = full
    await garbage.look()
    left = {image.id for image in await runtime.images()}
    # In use, just come, or from an archive: they stay.
    assert pulled["old"].id not in left and {pulled["used"].id, pulled["young"].id} <= left
    assert await runtime.find_image("localhost/bb:1") is not None
    freed = pulled["old"].size
    assert told.events == [
        (
            "Warning",
            "FreeDiskSpaceFailed",
            "Failed to garbage collect required amount of images. "
            f"Attempted to free {10 * GIB} bytes, but only found {freed} bytes eligible to free.",
        )
    ]

    await runtime.remove_sandbox(sandbox.id)
    await clock.advance(200)
    # Twenty bytes of which none is free: two are to go, and one image is more than that.
    now[0] = Space(20, 0)
    await garbage.look()
    left = {image.id for image in await runtime.images()}
    assert pulled["young"].id not in left, "it was never used"
    assert pulled["used"].id in left
