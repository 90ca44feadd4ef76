"""An image for the sidecar that upstream's operator runs beside tasks that return results.

To end it, upstream runs `kill -2 $(pgrep -u $(id -u) -f 'sh')` in it; the busybox of Debian has no pgrep.
"""

from __future__ import annotations

from images import BuiltImage, Layer, build, busybox_layer

__all__ = ["sidecar_image"]

PGREP = """#!/bin/sh
# pgrep -u USER -f TEXT
for process in /proc/[0-9]*; do
  [ "${process#/proc/}" != $$ ] && [ -O "$process" ] && grep -q "$4" "$process/cmdline" && echo "${process#/proc/}"
done
"""


def sidecar_image() -> BuiltImage:
    """busybox and a pgrep."""
    return build(
        [busybox_layer(), Layer().add("bin/pgrep", PGREP, mode=0o755)], {"Env": ["PATH=/bin:/usr/bin"]}
    )
