"""kubectl get --watch: what it prints while things change."""

from __future__ import annotations

import queue
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from kubectl_program import Kubectl
from patience import PATIENCE
from sample_objects import config_map, pod


class Watching:
    """Lines of a running kubectl, as they come."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._lines: queue.Queue[str] = queue.Queue()
        self._process = process
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line.rstrip("\n"))

    def next_within(self, seconds: float) -> str:
        """The next line, or nothing when none comes in time."""
        try:
            return self._lines.get(timeout=seconds)
        except queue.Empty:
            return ""

    def until(self, *words: str) -> str:
        """The next line that holds all the words."""
        while True:
            line = self._lines.get(timeout=PATIENCE)
            if all(word in line for word in words):
                return line


@contextmanager
def watching(kubectl: Kubectl, *arguments: str) -> Iterator[Watching]:
    process = subprocess.Popen(
        kubectl.command(*arguments),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=kubectl.environment(),
    )
    try:
        yield Watching(process)
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def test_a_table_that_grows(kubectl: Kubectl) -> None:
    kubectl("create", "-f", "-", stdin=config_map("first", {"a": "1"}, watched="yes"))
    with watching(kubectl, "get", "cm", "-l", "watched=yes", "--watch") as seen:
        assert seen.until("NAME").split() == ["NAME", "DATA", "AGE"]
        seen.until("first", "1")
        kubectl("create", "-f", "-", stdin=config_map("second", {}, watched="yes"))
        seen.until("second", "0")
        kubectl("patch", "cm", "second", "--type=merge", "-p", '{"data":{"x":"1","y":"2"}}')
        seen.until("second", "2")


def test_watch_only_begins_with_what_comes_next(kubectl: Kubectl) -> None:
    kubectl("create", "-f", "-", stdin=config_map("old"))
    with watching(kubectl, "get", "cm", "-o", "name", "--watch-only") as seen:
        # The watch begins some time after the process; objects are made until one of them is seen.
        for n in range(50):
            kubectl("create", "-f", "-", stdin=config_map(f"new-{n}"))
            line = seen.next_within(0.3)
            if line:
                assert line.startswith("configmap/new-")
                return
    raise AssertionError("nothing was seen")


def test_events_with_their_kind(kubectl: Kubectl) -> None:
    with watching(kubectl, "get", "pods", "--watch", "--output-watch-events") as seen:
        kubectl("create", "-f", "-", stdin=pod("web"))
        seen.until("ADDED", "web")
        seen.until("web", "Running")
        kubectl("delete", "pod", "web", "--wait=false")
        seen.until("MODIFIED", "web", "Terminating")
        seen.until("DELETED", "web")


def test_leaving_the_selector_is_a_deletion(kubectl: Kubectl) -> None:
    kubectl("create", "-f", "-", stdin=config_map("moving", {}, side="left"))
    with watching(
        kubectl, "get", "cm", "-l", "side=left", "-o", "json", "--watch", "--output-watch-events"
    ) as seen:
        seen.until('"ADDED"')
        kubectl("label", "cm", "moving", "side=right", "--overwrite")
        seen.until('"DELETED"')


def test_events_command_follows(kubectl: Kubectl) -> None:
    with watching(kubectl, "events", "--watch") as seen:
        kubectl("create", "-f", "-", stdin=pod("followed"))
        seen.until("Scheduled", "followed")


def test_one_object(kubectl: Kubectl) -> None:
    kubectl("create", "-f", "-", stdin=[config_map("this", {"a": "1"}), config_map("that", {"a": "1"})])
    with watching(
        kubectl, "get", "cm", "this", "--watch", "-o", "jsonpath={.metadata.name}={.data.a}{'\\n'}"
    ) as seen:
        seen.until("this=1")
        kubectl("patch", "cm", "that", "--type=merge", "-p", '{"data":{"a":"2"}}')
        kubectl("patch", "cm", "this", "--type=merge", "-p", '{"data":{"a":"3"}}')
        assert seen.until("th") == "this=3"
