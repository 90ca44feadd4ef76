"""Layers from strangers, the store that keeps them, archives they come in. Needs root: layers keep their owners."""

from __future__ import annotations

import errno
import gzip
import io
import json
import os
import resource
import shutil
import stat
import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import images
import pytest
from images import BuiltImage, Layer, build, digest

from podbay.errors import InvalidInputError, StateError
from podbay.node.images.archive import load_archive
from podbay.node.images.layers import unpack_layer
from podbay.node.images.manifest import Platform
from podbay.node.images.reference import parse_reference
from podbay.node.images.store import ImageStore, LayerOpener, StoredImage
from podbay.node.trees import remove_tree
from registries import index

pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="layers keep their owners")]
HERE = Platform("linux", images.ARCHITECTURE)


def unpack(layer: Layer | bytes, target: Path, *, compress: bool = False) -> Path:
    data = layer if isinstance(layer, bytes) else layer.tar()
    target.mkdir()
    packed = gzip.compress(data) if compress else data
    unpack_layer(io.BytesIO(packed), target, digest(data))
    return target


# Layers


def test_what_a_layer_holds(tmp_path: Path) -> None:
    layer = (
        Layer()
        .directory("d", mode=0o750, uid=1000, gid=50, mtime=1_000_000)
        .add("d/file", "hello", mode=0o4755, uid=1000, gid=1000, mtime=1_500_000_000)
        .symlink("d/link", "file")
        .link("d/hard", "d/file")
        .add("fifo", type=tarfile.FIFOTYPE)
        .add("null", type=tarfile.CHRTYPE, devmajor=1, devminor=3, mode=0o666)
        .add("capable", "x", mode=0o755, pax_headers={"SCHILY.xattr.security.capability": CAPABILITY})
        .add("tagged", "x", pax_headers={"SCHILY.xattr.user.colour": "blue"})
        .add("missing/parents/f", "deep")
    )
    root = unpack(layer, tmp_path / "l", compress=True)
    status = (root / "d").stat()
    assert (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid, status.st_mtime) == (
        0o750,
        1000,
        50,
        1_000_000,
    )
    status = (root / "d/file").stat()
    assert (stat.S_IMODE(status.st_mode), status.st_uid, status.st_mtime) == (0o4755, 1000, 1_500_000_000)
    assert str((root / "d/link").readlink()) == "file"
    assert (root / "d/hard").stat().st_ino == status.st_ino
    assert stat.S_ISFIFO((root / "fifo").stat().st_mode)
    assert (root / "null").stat().st_rdev == os.makedev(1, 3)
    assert os.getxattr(root / "capable", "security.capability")[:4] == b"\x01\x00\x00\x02"
    assert os.getxattr(root / "tagged", "user.colour") == b"blue"
    assert (root / "missing/parents/f").read_text() == "deep"


CAPABILITY = bytes([1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]).decode(
    "utf-8", "surrogateescape"
)


def test_whiteouts(tmp_path: Path) -> None:
    layer = (
        Layer()
        .directory("a")
        .add("a/.wh.gone")
        .directory("b")
        .add("b/.wh..wh..opq")
        .add("b/kept", "x")
        .add("own", "mine")
        .add(".wh.own")
        .add(".wh..wh.plnk")
    )
    root = unpack(layer, tmp_path / "l")
    assert (root / "a/gone").lstat().st_rdev == 0
    assert stat.S_ISCHR((root / "a/gone").lstat().st_mode)
    assert os.getxattr(root / "b", "trusted.overlay.opaque") == b"y"
    assert sorted(path.name for path in (root / "b").iterdir()) == ["kept"]
    # A whiteout speaks of the layers below, not of its own.
    assert (root / "own").read_text() == "mine"
    assert sorted(path.name for path in root.iterdir()) == ["a", "b", "own"]


def test_later_entries_replace_earlier_ones(tmp_path: Path) -> None:
    layer = (
        Layer().add("x", "file").directory("x").add("x/y", "1").symlink("x", "z").add("z", "1").add("z", "22")
    )
    root = unpack(layer, tmp_path / "l")
    assert str((root / "x").readlink()) == "z"
    assert (root / "z").read_text() == "22"


@pytest.mark.parametrize(
    "layer",
    [
        Layer().add("../escaped", "x"),
        Layer().add("/escaped", "x"),
        Layer().add("a/../../escaped", "x"),
        Layer().symlink("out", "..").add("out/escaped", "x"),
        Layer().symlink("out", "/").add("out/escaped", "x"),
        Layer().symlink("out", "../..").directory("out/escaped"),
        Layer().symlink("a", "b").symlink("b", "..").add("a/escaped", "x"),
        Layer().symlink("out", "..").symlink("out/escaped", "x"),
        Layer().symlink("out", "..").add("out/.wh.escaped"),
        Layer().symlink("escaped", "../escaped").add("escaped", "x"),
        Layer().directory("d").symlink("d/out", "../..").add("d/out/escaped", "x"),
    ],
)
def test_nothing_lands_outside(tmp_path: Path, layer: Layer) -> None:
    victim = tmp_path / "l"
    unpack(layer, victim)
    assert [path.name for path in tmp_path.iterdir()] == ["l"]
    assert not Path("/escaped").exists()


@pytest.mark.parametrize("link", ["../secret", "/../secret", "out/secret"])
def test_hard_links_do_not_reach_outside(tmp_path: Path, link: str) -> None:
    (tmp_path / "secret").write_text("secret")
    layer = Layer().symlink("out", "..").link("stolen", link)
    with pytest.raises(FileNotFoundError):
        unpack(layer, tmp_path / "l")
    assert (tmp_path / "secret").stat().st_nlink == 1


def test_attributes_of_overlayfs_are_not_taken(tmp_path: Path) -> None:
    layer = Layer().directory("d", pax_headers={"SCHILY.xattr.trusted.overlay.redirect": "/etc"})
    root = unpack(layer, tmp_path / "l")
    with pytest.raises(OSError) as caught:
        os.getxattr(root / "d", "trusted.overlay.redirect")
    assert caught.value.errno == errno.ENODATA


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"noise" * 300,
        gzip.compress(Layer().add("f", "x" * 5000).tar())[:-200],
        Layer().add("f", "x" * 5000).tar()[:2000],
    ],
    ids=["empty", "noise", "cut gzip", "cut tar"],
)
def test_damaged_layers(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "l").mkdir()
    with pytest.raises(InvalidInputError, match="damaged"):
        unpack_layer(io.BytesIO(data), tmp_path / "l", digest(b"something else"))


@pytest.mark.parametrize(
    "layer",
    [
        Layer().add("x", pax_headers={"path": "a\0b"}),
        Layer().add("x", uid=2**40),
        Layer().add("x", pax_headers={"mtime": "1e30"}),
        Layer().directory("d", pax_headers={"mtime": "inf"}),
    ],
    ids=["name", "owner", "time", "no number"],
)
def test_layers_with_what_no_file_can_have(tmp_path: Path, layer: Layer) -> None:
    with pytest.raises(InvalidInputError, match="damaged"):
        unpack(layer, tmp_path / "l")


def test_a_layer_as_deep_as_paths_go(tmp_path: Path) -> None:
    root = unpack(Layer().add("a/" * 1900 + "x", "deep"), tmp_path / "l")
    assert (root / ("a/" * 1900) / "x").read_text() == "deep"
    remove_tree(root)


def test_a_file_that_does_not_fit_is_no_layer(tmp_path: Path) -> None:
    """The first chunk fits in part, and nothing is written after it."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, limits[1]))
    try:
        with pytest.raises(OSError):
            unpack(Layer().add("big", "x" * 500_000), tmp_path / "l")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_zstd(tmp_path: Path) -> None:
    packed = b"\x28\xb5\x2f\xfd" + b"\0" * 20
    (tmp_path / "l").mkdir()
    if shutil.which("zstd") is None:
        with pytest.raises(InvalidInputError, match="install the package zstd"):
            unpack_layer(io.BytesIO(packed), tmp_path / "l", digest(b""))


# The store


@pytest.fixture
def store(tmp_path: Path) -> ImageStore:
    return reopened(tmp_path / "images")


def reopened(base: Path) -> ImageStore:
    store = ImageStore(base)
    store.open()
    return store


def openers(image: BuiltImage) -> list[LayerOpener]:
    def opener(data: bytes) -> LayerOpener:
        @contextmanager
        def opened() -> Iterator[BinaryIO]:
            yield io.BytesIO(data)

        return opened

    return [opener(layer) for layer in image.layers]


def add(store: ImageStore, image: BuiltImage, *tags: str) -> StoredImage:
    return store.add(image.config, openers(image), tags=tags)


BASE = Layer().add("base", "b")
ONE = build([BASE, Layer().add("one", "1")])
TWO = build([BASE, Layer().add("two", "2")])


def test_layers_are_shared_and_go_with_their_last_image(store: ImageStore) -> None:
    one, two = add(store, ONE, "a/one:1"), add(store, TWO, "a/two:1")
    assert one.layers[0] == two.layers[0]
    assert len(list(store.layers.iterdir())) == 3
    store.remove(one.id)
    assert {path.name for path in store.layers.iterdir()} == set(two.layers)
    store.remove(two.id)
    store.remove(two.id)
    assert list(store.layers.iterdir()) == []


def test_reserved_layers_stay(store: ImageStore) -> None:
    one = add(store, ONE, "a/one:1")
    with store.reserved([digest(layer) for layer in ONE.layers]):
        store.remove(one.id)
        assert len(list(store.layers.iterdir())) == 2
        assert store.has_layer(digest(ONE.layers[0]))
    assert list(store.layers.iterdir()) == []


def test_a_store_is_found_again(store: ImageStore, tmp_path: Path) -> None:
    one = add(store, ONE, "docker.io/a/one:1")
    (store.layers / ".half-made.1").mkdir()
    (store.layers / "nobodys").mkdir()
    (store.downloads / "x.part").write_bytes(b"x")
    again = reopened(tmp_path / "images")
    assert again.images() == [one]
    assert again.find(parse_reference("a/one:1")) == one
    assert again.get(one.id.removeprefix("sha256:")[:12]) == one
    assert {path.name for path in again.layers.iterdir()} == set(one.layers)
    assert list(again.downloads.iterdir()) == []


def test_an_image_whose_layer_was_lost_is_not_there(store: ImageStore, tmp_path: Path) -> None:
    one = add(store, ONE, "a/one:1")
    shutil.rmtree(store.layers / one.layers[1])
    again = reopened(tmp_path / "images")
    assert again.images() == []
    add(again, ONE, "a/one:1")
    assert (again.layers / one.layers[1] / "one").read_text() == "1"


@pytest.mark.parametrize("content", [b"{", b'{"version":99}', b"[]"])
def test_an_index_that_cannot_be_used(store: ImageStore, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "images/index.json").write_bytes(content)
    with pytest.raises(StateError, match=r"index\.json"):
        reopened(tmp_path / "images")


def test_tags_move(store: ImageStore) -> None:
    one = add(store, ONE, "a/x:1", "a/x:2")
    two = add(store, TWO, "a/x:1")
    kept = store.get(one.id)
    assert kept is not None
    assert (kept.tags, two.tags) == (("a/x:2",), ("a/x:1",))
    add(store, TWO, "a/x:2")
    assert [image.id for image in store.untagged()] == [one.id]


def test_a_failed_unpacking_leaves_nothing(store: ImageStore) -> None:
    wrong = BuiltImage(ONE.config, [ONE.layers[0], TWO.layers[1]])
    with pytest.raises(InvalidInputError, match="damaged"):
        add(store, wrong)
    assert (store.images(), list(store.layers.iterdir())) == ([], [])


def test_the_same_image_from_many_threads(store: ImageStore) -> None:
    threads = [
        threading.Thread(target=add, args=(store, image, f"a/{n}:1"))
        for n, image in enumerate([ONE, TWO] * 5)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(store.images()) == 2
    assert len(list(store.layers.iterdir())) == 3


# Archives


def test_docker_archive(store: ImageStore, tmp_path: Path) -> None:
    path = ONE.archive(tmp_path / "one.tar", "busybox:1", "quay.io/x/y:2")
    [image] = load_archive(store, path, HERE)
    assert image.tags == ("docker.io/library/busybox:1", "quay.io/x/y:2")
    packed = tmp_path / "one.tar.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert load_archive(store, packed, HERE) == [image]


def test_docker_archive_with_linked_layers(store: ImageStore, tmp_path: Path) -> None:
    path = tmp_path / "linked.tar"
    with tarfile.open(path, "w") as tar:
        _put(tar, "real/layer.tar", ONE.layers[0])
        link = tarfile.TarInfo("linked/layer.tar")
        link.type, link.linkname = tarfile.SYMTYPE, "../real/layer.tar"
        tar.addfile(link)
        _put(tar, "two.tar", ONE.layers[1])
        _put(tar, "c.json", ONE.config)
        _put(
            tar,
            "manifest.json",
            json.dumps([{"Config": "c.json", "Layers": ["linked/layer.tar", "two.tar"]}]).encode(),
        )
    assert [image.id for image in load_archive(store, path, HERE)] == [ONE.config_digest]


def _oci(path: Path, entries: list[tuple[bytes, dict[str, object]]], blobs: dict[str, bytes]) -> Path:
    descriptors = [
        {**images.descriptor(data, json.loads(data)["mediaType"]), **extra} for data, extra in entries
    ]
    with tarfile.open(path, "w") as tar:
        _put(tar, "oci-layout", b'{"imageLayoutVersion":"1.0.0"}')
        _put(tar, "index.json", json.dumps({"schemaVersion": 2, "manifests": descriptors}).encode())
        for name, data in {**blobs, **{digest(data): data for data, _ in entries}}.items():
            _put(tar, f"blobs/{name.replace(':', '/')}", data)
    return path


def test_oci_layout(store: ImageStore, tmp_path: Path) -> None:
    manifest, blobs = ONE.manifest()
    named = {"annotations": {"io.containerd.image.name": "docker.io/a/one:1"}}
    [image] = load_archive(store, _oci(tmp_path / "oci.tar", [(manifest, named)], blobs), HERE)
    assert image.tags == ("docker.io/a/one:1",)
    assert image.digests == (f"docker.io/a/one@{digest(manifest)}",)


def test_oci_layout_with_several_platforms(store: ImageStore, tmp_path: Path) -> None:
    foreign = build([Layer().add("f", "f")], architecture="s390x")
    (mine, my_blobs), (theirs, their_blobs) = ONE.manifest(), foreign.manifest()
    both = index(
        (theirs, {"os": "linux", "architecture": "s390x"}),
        (mine, {"os": "linux", "architecture": images.ARCHITECTURE}),
    )
    blobs = {**my_blobs, **their_blobs, digest(mine): mine, digest(theirs): theirs}
    [image] = load_archive(store, _oci(tmp_path / "oci.tar", [(both, {})], blobs), HERE)
    assert image.id == ONE.config_digest


def test_oci_layout_with_a_changed_blob(store: ImageStore, tmp_path: Path) -> None:
    manifest, blobs = ONE.manifest()
    blobs[ONE.config_digest] = TWO.config
    with pytest.raises(InvalidInputError, match="damaged"):
        load_archive(store, _oci(tmp_path / "oci.tar", [(manifest, {})], blobs), HERE)


@pytest.mark.parametrize(
    "members",
    [
        {},
        {"manifest.json": b"{"},
        {"manifest.json": b"[{}]"},
        {"manifest.json": b'[{"Config":"missing","Layers":[]}]'},
        {"manifest.json": b'[{"Config":"c","Layers":["nope"]}]', "c": ONE.config},
        {"index.json": b'{"manifests":[{"digest":"md5:1","size":1}]}'},
    ],
)
def test_archives_that_are_none(store: ImageStore, tmp_path: Path, members: dict[str, bytes]) -> None:
    path = tmp_path / "bad.tar"
    with tarfile.open(path, "w") as tar:
        for name, data in members.items():
            _put(tar, name, data)
    with pytest.raises(InvalidInputError, match=r"bad\.tar"):
        load_archive(store, path, HERE)
    assert store.images() == []


def _put(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    tar.addfile(info, io.BytesIO(data))
