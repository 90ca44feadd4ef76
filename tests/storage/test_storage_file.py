"""The state file: what survives, who may open it, and what is said when it cannot be used."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from storage_builders import KEY, labelled, make_pod, shown

from podbay.apiserver.storage import Store
from podbay.apiserver.storage.file import _MIGRATIONS, SCHEMA_VERSION
from podbay.errors import ConflictError, StateError


def _fill(path: Path, count: int = 50, *, size: int = 500) -> int:
    with Store.open(path) as store:
        for number in range(count):
            store.create(
                KEY, make_pod(f"p{number:03}", value="x" * size, even=str(number % 2)), fields={"f": "v"}
            )
        return store.version


def test_everything_is_there_after_reopening(path: Path) -> None:
    with Store.open(path) as store:
        start = store.version
        store.create(KEY, make_pod("a", team="red"), fields={"status.phase": "Running"})
        store.create(KEY, make_pod("b"), fields={})
        store.update(KEY, make_pod("a", value=2), fields={})
        store.delete(KEY, "default", "b")
        before = shown(store.watch(KEY, resource_version=str(start)).take())
        version, entries = store.version, store.entries(KEY)
    with Store.open(path) as store:
        assert (store.version, store.compacted) == (version, start)
        assert store.entries(KEY) == entries
        assert shown(store.watch(KEY, resource_version=str(start)).take()) == before
        red = store.watch(KEY, resource_version=str(start), predicate=labelled("team", "red"))
        assert [c.type for c in red.take()] == ["ADDED", "DELETED"]
        exact = store.list(KEY, resource_version=str(start + 2), resource_version_match="Exact")
        assert [e.name for e in exact.entries] == ["a", "b"]
        assert exact.entries[0].fields["status.phase"] == "Running"
        assert store.create(KEY, make_pod("c"), fields={}).version == version + 1


def test_versions_never_go_back_when_all_is_deleted_and_compacted(path: Path) -> None:
    with Store.open(path) as store:
        store.create(KEY, make_pod("a"), fields={})
        store.delete(KEY, "default", "a")
        version = store.compact(store.version)
    with Store.open(path) as store:
        assert store.version == version
        assert store.create(KEY, make_pod("a"), fields={}).version == version + 1


def test_compaction_shrinks_what_is_stored_to_the_present(path: Path) -> None:
    with Store.open(path) as store:
        for value in range(100):
            if store.get(KEY, "default", "a") is None:
                store.create(KEY, make_pod("a", value=value), fields={})
            else:
                store.update(KEY, make_pod("a", value=value), fields={})
            store.create(KEY, make_pod("b"), fields={})
            store.delete(KEY, "default", "b")
        store.compact(store.version)
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT count(*) FROM versions").fetchone() == (1,)
    connection.close()


def test_nobody_else_may_read_it(path: Path) -> None:
    old = os.umask(0)
    try:
        with Store.open(path) as store:
            store.create("secrets", make_pod("s"), fields={})
            for file in path.parent.iterdir():
                assert stat.S_IMODE(file.stat().st_mode) == 0o600, file
    finally:
        os.umask(old)


def test_nothing_is_left_beside_it_after_closing(path: Path) -> None:
    _fill(path)
    assert [file.name for file in path.parent.iterdir()] == ["state.db"]


_HOLDER = """
import sys, pathlib
from podbay.apiserver.storage import Store
store = Store.open(pathlib.Path(sys.argv[1]))
print("open", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def held(path: Path) -> Iterator[Path]:
    """A state file that another process has open."""
    command = [sys.executable, "-c", _HOLDER, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"open\n"
        yield path
        process.kill()


def test_two_processes_never_share_it(held: Path) -> None:
    with pytest.raises(ConflictError, match="in use by another process"):
        Store.open(held)


def _opens_elsewhere(path: Path) -> bool:
    command = [sys.executable, "-c", _HOLDER, str(path)]
    run = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    assert run.returncode == 0 or b"ConflictError" in run.stderr
    return run.returncode == 0


def test_a_second_store_in_the_same_process_is_refused_and_leaves_the_lock(path: Path) -> None:
    with Store.open(path) as store:
        with pytest.raises(ConflictError):
            Store.open(path)
        assert not _opens_elsewhere(path)
        store.create(KEY, make_pod("a"), fields={})
    assert _opens_elsewhere(path)


def test_a_file_of_a_newer_version(path: Path) -> None:
    _fill(path, 1)
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA user_version={SCHEMA_VERSION + 1}")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(StateError, match=f"has schema {SCHEMA_VERSION + 1}.*use the newer version"):
        Store.open(path)
    assert path.read_bytes() == before


def _age(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version=0")
    connection.close()


def test_an_old_file_is_migrated_in_one_step(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    version = _fill(path, 3)
    _age(path)

    def migrate(connection: sqlite3.Connection) -> None:
        connection.execute("UPDATE versions SET name = 'new-' || name")

    def fail(connection: sqlite3.Connection) -> None:
        migrate(connection)
        raise StateError("no way")

    monkeypatch.setitem(_MIGRATIONS, 0, fail)
    with pytest.raises(StateError, match="no way"):
        Store.open(path)
    monkeypatch.setitem(_MIGRATIONS, 0, migrate)
    with Store.open(path) as store:
        assert [e.name for e in store.entries(KEY)] == ["new-p000", "new-p001", "new-p002"]
    with Store.open(path) as store:
        assert [e.name for e in store.entries(KEY)] == ["new-p000", "new-p001", "new-p002"]
        assert store.version == version


def test_a_file_too_old_to_migrate(path: Path) -> None:
    _fill(path, 1)
    _age(path)
    with pytest.raises(StateError, match=r"has schema 0.*reset the cluster"):
        Store.open(path)


def test_a_database_of_another_program(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE notes (text)")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(StateError, match="another program"):
        Store.open(path)
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_a_file_that_is_no_database(path: Path) -> None:
    path.write_bytes(b"kind: Pod\n" * 100)
    with pytest.raises(StateError, match="is damaged"):
        Store.open(path)


def test_a_file_left_empty_by_a_crash_is_a_new_one(path: Path) -> None:
    path.touch()
    assert _fill(path, 3) > 3


@pytest.mark.parametrize("keep", [0.3, 0.6, 0.9])
def test_a_truncated_file(path: Path, keep: float) -> None:
    _fill(path, 200)
    size = int(path.stat().st_size * keep)
    os.truncate(path, size - size % 4096)
    with pytest.raises(StateError, match="is damaged"):
        Store.open(path)


def test_damage_in_the_middle_is_found_or_harmless(path: Path) -> None:
    """Any page may be overwritten: the store says so in its own words or opens; it never fails otherwise."""
    _fill(path, 60)
    whole = path.read_bytes()
    refused = 0
    for page in range(len(whole) // 4096):
        damaged = bytearray(whole)
        damaged[page * 4096 : (page + 1) * 4096] = bytes([0xA5]) * 4096
        path.write_bytes(damaged)
        try:
            Store.open(path).close()
        except StateError:
            refused += 1
    assert refused


def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(
        StateError, match="No such file or directory; make the file and its directory writable"
    ):
        Store.open(tmp_path / "missing" / "state.db")


def test_a_directory_in_its_place(path: Path) -> None:
    path.mkdir()
    with pytest.raises(StateError, match="cannot be opened"):
        Store.open(path)


_UNPRIVILEGED = """
import os, sys, pathlib
from podbay.apiserver.storage import Store
from podbay.errors import StateError
if os.geteuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
try:
    Store.open(pathlib.Path(sys.argv[1]))
except StateError as error:
    print(error)
"""


@pytest.mark.parametrize("existing", [False, True])
def test_a_place_that_is_not_writable(path: Path, existing: bool) -> None:
    if existing:
        _fill(path, 1)
        path.chmod(0o444)
    path.parent.chmod(0o555)
    # The temporary directories above are private to the user who runs the tests.
    script = f"import os; os.chdir({str(path.parent)!r})\n" + _UNPRIVILEGED
    try:
        run = subprocess.run(
            [sys.executable, "-c", script, path.name], capture_output=True, text=True, check=True
        )
    finally:
        path.parent.chmod(0o755)
    assert "writable" in run.stdout
    assert len(run.stdout.splitlines()) == 1


_LIMITED = """
import pathlib, resource, sys
from podbay.apiserver.storage import Store
from podbay.errors import StateError
store = Store.open(pathlib.Path(sys.argv[1]))
acknowledged = 0
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
try:
    while True:
        pod = {"metadata": {"name": f"p{acknowledged}", "namespace": "n"}, "spec": "x" * 2000}
        store.create("pods", pod, fields={})
        acknowledged += 1
except StateError as error:
    print(acknowledged, store.count("pods"), error)
"""


def test_a_write_that_cannot_be_stored_has_not_happened(path: Path) -> None:
    """The limit on the size of files makes writing fail in the middle, as a failing disk does."""
    run = subprocess.run(
        [sys.executable, "-c", _LIMITED, str(path)], capture_output=True, text=True, check=True
    )
    acknowledged, in_memory, sentence = run.stdout.split(maxsplit=2)
    assert int(acknowledged) > 20
    assert in_memory == acknowledged
    assert "cannot be read or written; check the disk" in sentence
    with Store.open(path) as store:
        assert store.count("pods") == int(acknowledged)
        store.create("pods", make_pod("next"), fields={})


@pytest.mark.root
def test_a_full_disk(tmp_path: Path) -> None:
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(tmp_path)], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("mounting a small file system needs root")
    try:
        with Store.open(tmp_path / "state.db") as store:
            watcher = store.watch(KEY)
            with pytest.raises(StateError, match="disk is full; free some space"):
                for number in range(1000):
                    store.create(KEY, make_pod(f"p{number}", value="x" * 2000), fields={})
            count, version = store.count(KEY), store.version
            assert 0 < count == version - store.compacted == len(watcher.take())
        with Store.open(tmp_path / "state.db") as store:
            assert (store.count(KEY), store.version) == (count, version)
            store.delete(KEY, "default", "p0")
    finally:
        subprocess.run(["umount", "-l", str(tmp_path)], check=True)
