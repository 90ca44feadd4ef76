"""Labels on sandboxes and containers: what must be known of them after a restart and is in no other place."""

from __future__ import annotations

__all__ = ["CONTAINER_KIND", "IMAGE_ID", "POD_NAME", "POD_NAMESPACE", "POD_UID", "VOLUMES"]

POD_NAME = "io.kubernetes.pod.name"
POD_NAMESPACE = "io.kubernetes.pod.namespace"
POD_UID = "io.kubernetes.pod.uid"
IMAGE_ID = "podbay.dev/image-id"
"""What status.imageID shows: a repository digest where the image has one."""
CONTAINER_KIND = "podbay.dev/container-kind"
VOLUMES = "podbay.dev/volumes"
"""Comma-separated names of the runtime volumes made for the pod, on its sandbox."""
