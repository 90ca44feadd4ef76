"""Why an engine could not pull an image, read from its words. Pure.

Engines answer with free text from their registry client, the same failure in different words and statuses; the patterns
were collected from Docker 20.10 to 28, containerd's client inside Docker, and Podman 4.
"""

from __future__ import annotations

import re

from podbay.errors import PullError

__all__ = ["pull_error"]

_CAUSES: tuple[tuple[str, str, str], ...] = (
    # The first that fits counts: a denial by a proxy may speak of timeouts, a bad certificate of a failed dial.
    ("ErrImagePull", "rate limited by the registry", "toomanyrequests|too many requests|rate limit"),
    (
        "ErrImagePull",
        "the registry's certificate is not trusted",
        "x509:|certificate signed|certificate is|bad certificate",
    ),
    ("ErrImagePull", "the registry does not speak HTTPS", "server gave HTTP response to HTTPS client"),
    (
        "ErrImagePull",
        "no image for this architecture",
        "no matching manifest|no image found in manifest list|no image found in image index"
        "|does not match the specified platform|no match for platform",
    ),
    (
        "ErrImagePull",
        "no such image, or access denied",
        "repository does not exist or may require|pull access denied",
    ),
    ("ErrImagePull", "no such tag", "manifest unknown|manifest for .* not found|manifest.* not found"),
    (
        "ErrImagePull",
        "no such image",
        "name unknown|repository .*not found|name_unknown|repository name not known",
    ),
    (
        "ErrImagePull",
        "access denied",
        "unauthorized|authentication required|no basic auth|denied|forbidden|invalid username/password|status:? (code:? )?40[13]",
    ),
    (
        "RegistryUnavailable",
        "the registry cannot be reached",
        "connection refused|no such host|i/o timeout|dial tcp|handshake timeout|unreachable|deadline exceeded"
        "|server misbehaving|connection reset|no route to host|client.timeout|unexpected eof|: eof"
        "|temporary failure in name resolution|status:? (code:? )?50[0234]|service unavailable|bad gateway",
    ),
)
_PATTERNS = tuple((reason, cause, re.compile(pattern, re.IGNORECASE)) for reason, cause, pattern in _CAUSES)


def pull_error(image: str, words: str) -> PullError:
    """The kubelet's reason, and a message with the cause in our words and all of the engine's."""
    words = words.strip() or "the container engine gave no reason"
    head = f'failed to pull image "{image}"'
    for reason, cause, pattern in _PATTERNS:
        if pattern.search(words):
            return PullError(reason, f"{head}: {cause}: {words}")
    return PullError("ErrImagePull", f"{head}: {words}")
