"""A registry with a password for the examples of docs/registries.md: prints its address, lives until it is ended.

usage: serve_registry.py DIRECTORY
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "node"))

import images

import registries


def main() -> None:
    directory = Path(sys.argv[1])
    directory.mkdir()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    tool = images.build(
        [images.Layer().add("etc/name", "tool")], {"Entrypoint": ["/bin/tool"]}, architecture="amd64"
    )
    with registries.docker_registry(directory, auth=True) as address:
        registries.push(address, "team/tool", "1", *tool.manifest())
        sys.stdout.write(address + "\n")
        sys.stdout.flush()
        while True:
            signal.pause()


if __name__ == "__main__":
    main()
