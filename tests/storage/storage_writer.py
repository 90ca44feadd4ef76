"""A process that writes for ever and says on standard output what was acknowledged, for the kill -9 test.

Arguments: state file, seed. Each line is "version operation name value", written after the store has returned.
"""

from __future__ import annotations

import os
import random
import sys
from pathlib import Path

from storage_builders import KEY, make_pod

from podbay.apiserver.storage import Store

HISTORY_LIMIT = 300


def main() -> None:
    path, seed = Path(sys.argv[1]), int(sys.argv[2])
    dice = random.Random(seed)
    store = Store.open(path, history_limit=HISTORY_LIMIT)
    names = {entry.name for entry in store.entries(KEY)}
    while True:
        name = f"p{dice.randrange(40)}"
        value = dice.randrange(10**9)
        pod = make_pod(name, value=value, filler="x" * dice.randrange(60))
        if name not in names:
            operation, entry = "create", store.create(KEY, pod, fields={})
            names.add(name)
        elif dice.random() < 0.3:
            operation, entry = "delete", store.delete(KEY, "default", name)
            names.discard(name)
        else:
            operation, entry = "update", store.update(KEY, pod, fields={})
        os.write(1, f"{entry.version} {operation} {name} {value}\n".encode())


if __name__ == "__main__":
    main()
