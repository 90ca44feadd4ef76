"""Trees that programs in containers made: deeper than Python's stack, a path or the descriptors of a process go."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from podbay.node.runc.volumes import Volumes
from podbay.node.trees import disk_usage, remove_tree


@pytest.fixture
def few_descriptors() -> Iterator[None]:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def nest(top: Path, depth: int, name: str) -> None:
    """Directories in each other, with a file of 8 KiB in the innermost."""
    top.mkdir()
    here = os.open(top, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir(name, dir_fd=here)
        inner = os.open(name, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = inner
    with os.fdopen(os.open("file", os.O_WRONLY | os.O_CREAT, dir_fd=here), "wb") as file:
        file.write(b"x" * 8192)
    os.close(here)


@pytest.mark.parametrize(("depth", "name"), [(2500, "d"), (40, "n" * 250)], ids=["deep", "long"])
def test_a_tree_without_end(tmp_path: Path, few_descriptors: None, depth: int, name: str) -> None:
    volumes = Volumes(tmp_path)
    nest(tmp_path / "v", depth, name)
    assert volumes.usage("v") >= 8192
    volumes.remove("v")
    assert list(tmp_path.iterdir()) == []


def test_links_are_removed_and_not_followed(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "file").touch()
    tree = tmp_path / "tree"
    for name in ("a/b/c", "a/d", "e"):
        (tree / name).mkdir(parents=True)
        (tree / name / "link").symlink_to(tmp_path / "kept")
        (tree / name / "file").write_text("x")
    (tree / "link").symlink_to("e")
    (tree / "e").chmod(0)
    (tmp_path / "door").symlink_to(tree)
    with pytest.raises(OSError):
        remove_tree(tmp_path / "door")
    remove_tree(tree)
    assert not tree.exists() and (tmp_path / "kept" / "file").exists()
    with pytest.raises(FileNotFoundError):
        remove_tree(tree)


def test_usage(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    assert disk_usage(tree) == 0
    tree.mkdir()
    assert disk_usage(tree) == 0
    (tree / "a").write_bytes(b"x" * 100_000)
    (tree / "b").hardlink_to(tree / "a")
    assert 100_000 <= disk_usage(tree) < 150_000
