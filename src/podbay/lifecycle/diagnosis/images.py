"""Images that cannot be had. Waiting reasons: pkg/kubelet/images/types.go; the words behind them: image_rules."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from podbay.lifecycle.diagnosis import image_rules
from podbay.lifecycle.diagnosis.category import Category, first_rule
from podbay.lifecycle.diagnosis.model import Diagnosis
from podbay.lifecycle.diagnosis.reading import as_list, as_map, as_text
from podbay.lifecycle.diagnosis.sight import Seen, Sight
from podbay.lifecycle.diagnosis.words import host_of, tag_of

__all__ = ["CATEGORIES", "architecture_line", "find_images"]

INVALID_NAME: Final = Category(
    word="InvalidImageName",
    meaning="The image's name cannot be read as one.",
    fix="Write `image` as [host/]repository[:tag], in lower case, without blanks.",
    blame="user",
    heals="never",
)
NEVER_PULLED: Final = Category(
    word="ImageNeverPull",
    meaning="The node does not have the image, and imagePullPolicy is Never.",
    fix="Load the image onto the node, or set `imagePullPolicy` to IfNotPresent.",
    blame="user",
    heals="never",
)
SECRET_MISSING: Final = Category(
    word="ImagePullSecretMissing",
    meaning="The image needs a login, and the Secret that imagePullSecrets names does not exist in the pod's namespace.",
    fix="Create the Secret in the pod's namespace, or correct its name in `imagePullSecrets`.",
    blame="user",
    heals="never",
)
INSPECT: Final = Category(
    word="ImageInspectFailed",
    meaning="The node's runtime cannot say whether it has the image.",
    fix="Try again; if it stays so, have the container runtime on that node looked at.",
    blame="infrastructure",
    heals="maybe",
)
FAILED: Final = Category(
    word="ImagePullFailed",
    meaning="The image could not be pulled, in words that are not known here.",
    fix="Read the evidence; try `docker pull` with the same name.",
    blame="platform",
    heals="maybe",
)

CATEGORIES: Final = (INVALID_NAME, NEVER_PULLED, SECRET_MISSING, INSPECT, FAILED, *image_rules.CATEGORIES)

_PULLING: Final = frozenset({
    "ErrImagePull", "ImagePullBackOff", "RegistryUnavailable", "SignatureValidationFailed", "ErrImagePullBackOff",
})  # fmt: skip
_URL: Final = re.compile(r"\bhttps?://[^\s\"']+?(?=:?[\s\"']|:?$)")
_LOOPBACK: Final = re.compile(r"(?:localhost|127(?:\.\d+){3}|\[::1\])(?::\d+)?\Z")
_LOGIN_HELPS: Final = (image_rules.NOT_FOUND_OR_DENIED, image_rules.DENIED)


def find_images(sight: Sight) -> Iterator[Diagnosis]:
    """Containers whose image cannot be had, in the order in which they start."""
    for each in sight.containers:
        if each.waiting is None:
            continue
        reason, message = each.waiting.reason, each.waiting.message
        if reason == "InvalidImageName":
            cause = f'"{each.image}", the image of container {each.name} of {sight.name}, is not the name of an image'
            yield INVALID_NAME.found(cause, evidence=[each.line()], container=each.name)
        elif reason == "ErrImageNeverPull":
            cause = f"{_who(sight, each)}: the node does not have it, and may not pull it"
            yield NEVER_PULLED.found(cause, evidence=[each.line()], container=each.name)
        elif reason == "ImageInspectError":
            cause = f"{_who(sight, each)}: the node cannot tell whether it has it"
            yield INSPECT.found(cause, evidence=[each.line()], container=each.name)
        elif reason in _PULLING:
            yield _pull(sight, each, f"{reason} {message}")


def _who(sight: Sight, seen: Seen) -> str:
    return f"Container {seen.name} of {sight.name} cannot get its image {seen.image}"


def _pull(sight: Sight, seen: Seen, waiting: str) -> Diagnosis:
    # Older kubelets say only "Back-off pulling image" here; why is in the event alone.
    events = [
        told
        for told in sight.told("Failed", container=seen.name)
        if "pull" in told.message.lower() and (told.container or seen.image in told.message)
    ]
    texts = _without_names(seen.image, [waiting, *(told.message for told in events[:3])])
    found = first_rule(image_rules.RULES, texts)
    evidence = [seen.line(), *(told.line() for told in events[:1])]
    if found is None:
        return FAILED.found(_who(sight, seen), evidence=evidence, container=seen.name)
    which, match = found
    missing = _missing_secret(sight) if which.category in _LOGIN_HELPS else None
    if missing is not None:
        name, line = missing
        cause = f"{_who(sight, seen)}: Secret {name} with the login for {host_of(seen.image)} does not exist in namespace {sight.namespace}"
        return SECRET_MISSING.found(cause, evidence=[*evidence, line], container=seen.name)
    cause, fix = which.told(match, {"host": host_of(seen.image), "tag": tag_of(seen.image)})
    if which.category is image_rules.UNREACHABLE and _refused_here(seen.image, match.string):
        cause = f"{_who(sight, seen)}: no registry answers at {host_of(seen.image)}, which is the node itself"
        return image_rules.NOT_HERE.found(cause, evidence=evidence, container=seen.name)
    if which.category is image_rules.ARCHITECTURE:
        evidence.append(architecture_line(sight))
    cause = f"{_who(sight, seen)}: {cause}"
    return which.category.found(cause, fix=fix, evidence=evidence, container=seen.name)


def _refused_here(image: str, text: str) -> bool:
    """A refusal by the node itself is final: there is no network in between that could be mended, and no pull to wait for."""
    return bool(_LOOPBACK.match(host_of(image))) and "connection refused" in text.lower()


def _without_names(image: str, texts: list[str]) -> list[str]:
    """The texts without addresses and the image's own name: they prove nothing, whatever words they are made of."""
    names = {image, image.partition("@")[0]}
    path = image.partition("@")[0].removeprefix(f"{host_of(image)}/")
    names |= {each for each in (path, path.rpartition(":")[0]) if "/" in each}
    listed = "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True) if name)
    own = re.compile(rf"(?<![\w.-])(?:{listed})(?![\w-])")
    return [own.sub("IMAGE", _URL.sub("URL", text)) for text in texts]


def _missing_secret(sight: Sight) -> tuple[str, str] | None:
    """The Secret with the login that the kubelet looked for in vain, and its own words."""
    told = next(iter(sight.told("FailedToRetrieveImagePullSecret")), None)
    if told is None:
        return None
    quoted = told.message.partition("(")[2].partition(")")[0]
    listed = [as_text(as_map(each).get("name")) for each in as_list(sight.spec.get("imagePullSecrets"))]
    return f'"{quoted or ", ".join(filter(None, listed))}"', told.line()


def architecture_line(sight: Sight) -> str:
    """What the node is, if that is known."""
    architecture = as_text(as_map(as_map(sight.node.get("status")).get("nodeInfo")).get("architecture"))
    return f"node {sight.node_name}: architecture {architecture}" if architecture else ""
