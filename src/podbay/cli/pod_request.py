"""From the words of the command line to a PodRequest. Reads the files they name; decides no more than their grammar.

--env NAME=VALUE | NAME                    NAME alone takes the value of the caller's own environment
--secret NAME[:KEY][=VAR | =/DIR]          all keys or one; as variables, or as files below /DIR
--cpu, --memory REQUEST[:LIMIT]            one value is both; `500m:` is a request without a limit
--mount host:/SOURCE:/PATH[:ro]            a directory of the node
        pvc:CLAIM:/PATH[:ro]               a PersistentVolumeClaim
        secret:NAME:/PATH, configmap:NAME:/PATH
        empty:/PATH[:SIZE]                 an empty directory, gone with the pod
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from podbay.cli.pod_checks import check_count, check_name, check_quantity
from podbay.cli.pod_words import PodWords, Pull
from podbay.errors import InvalidInputError
from podbay.pods.request import UNSET, PodRequest, SidecarOptions
from podbay.pods.secrets import SecretReference
from podbay.pods.template import load_template

__all__ = ["pod_request", "readable_name"]

GPU: Final = "nvidia.com/gpu"
_POLICIES: Final = {Pull.always: "Always", Pull.missing: "IfNotPresent", Pull.never: "Never"}
_MOUNTS: Final = "host:/SOURCE:/PATH, pvc:CLAIM:/PATH, secret:NAME:/PATH, configmap:NAME:/PATH or empty:/PATH"
_FILES: Final = {
    "--template": "a file with a pod as YAML, such as `podbay render` prints",
    "--env-from-file": "a text file with a line NAME=VALUE for each variable",
}
_SOURCES: Final = {
    "host": lambda name: {"hostPath": {"path": name}},
    "pvc": lambda name: {"persistentVolumeClaim": {"claimName": name}},
    "secret": lambda name: {"secret": {"secretName": name}},
    "configmap": lambda name: {"configMap": {"name": name}},
}


def pod_request(
    words: PodWords,
    command: Sequence[str],
    *,
    namespace: str | None,
    default_namespace: str | None = None,
    name_suffix: str = "",
    environ: Mapping[str, str] = os.environ,
) -> PodRequest:
    """What is asked for. name_suffix goes after a name that is made here. Raises InvalidInputError naming the option."""
    if words.image is None and words.template is None:
        raise InvalidInputError("an image is missing: podbay pod run IMAGE [-- COMMAND...]")
    if words.name is not None:
        check_name(words.name)
    volumes, mounts = _volumes(words.mount or ())
    resources = _resources(words)
    env, env_from, files = _variables(words, environ)
    given = list(command) or None
    return PodRequest(
        name=words.name or _made_name(words),
        name_suffix=name_suffix,
        exact_name=words.name is not None,
        namespace=namespace or UNSET,
        default_namespace=default_namespace,
        labels=_pairs("--label", words.label) or UNSET,
        annotations=_pairs("--annotation", words.annotation) or UNSET,
        template=_template(words.template),
        full_spec=_working_directory(words.workdir),
        image=words.image or UNSET,
        command=given if given and words.replace_entrypoint else UNSET,
        args=given if given and not words.replace_entrypoint else UNSET,
        env=env or UNSET,
        env_from=env_from or UNSET,
        config_maps=words.config_map or (),
        secrets=files,
        volumes=volumes or UNSET,
        volume_mounts=mounts or UNSET,
        image_pull_policy=UNSET if words.pull is None else _POLICIES[words.pull],
        image_pull_secrets=[{"name": each} for each in words.pull_secret or ()] or UNSET,
        resources=resources or UNSET,
        node_selector=_pairs("--node-selector", words.node_selector) or UNSET,
        service_account_name=words.service_account or UNSET,
        result=words.result.value,
        sidecar=SidecarOptions(image=words.sidecar_image) if words.sidecar_image else UNSET,
    )


def _made_name(words: PodWords) -> Any:
    return UNSET if words.image is None else readable_name(words.image)


def readable_name(image: str) -> str:
    """The last part of an image's name, without tag and digest."""
    last = image.partition("@")[0].rpartition("/")[2].partition(":")[0]
    return last or "pod"


def _template(path: Path | None) -> Any:
    if path is None:
        return None
    return load_template(_read(path, "--template"), str(path))


def _working_directory(path: str | None) -> Any:
    # No parameter of a request: rare enough to go in as a piece of a full spec.
    return None if path is None else {"spec": {"containers": [{"name": "base", "workingDir": path}]}}


def _read(path: Path, option: str) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as err:
        reason = err.strerror if isinstance(err, OSError) else "not UTF-8"
        raise InvalidInputError(f"{option} {path}: {reason}. Name {_FILES[option]}") from err


def _pairs(option: str, given: Sequence[str] | None) -> dict[str, str]:
    pairs = {}
    for each in given or ():
        name, equals, value = each.partition("=")
        if not equals or not name:
            raise InvalidInputError(f"{option} {each}: write NAME=VALUE")
        pairs[name] = value
    return pairs


def _env(words: PodWords, environ: Mapping[str, str]) -> dict[str, str]:
    """Files first: what is written on the command line counts more. Messages hold names, never values."""
    found: dict[str, str] = {}
    for path in words.env_from_file or ():
        for number, line in enumerate(_read(path, "--env-from-file").splitlines(), 1):
            text = line.strip()
            if not text or text.startswith("#"):
                continue
            name, equals, value = text.partition("=")
            if not equals or not name.strip():
                raise InvalidInputError(f"--env-from-file {path}:{number}: expected NAME=VALUE")
            found[name.strip()] = value
    for each in words.env or ():
        name, equals, value = each.partition("=")
        if not name:
            raise InvalidInputError("--env: a name is missing. Write NAME=VALUE or NAME")
        if not equals and name not in environ:
            raise InvalidInputError(f"--env {name}: not set in your environment. Write {name}=VALUE")
        found[name] = value if equals else environ[name]
    return found


def _variables(
    words: PodWords, environ: Mapping[str, str]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]], list[SecretReference]]:
    """The container's `env`, its `envFrom`, and Secrets that become files."""
    env: list[dict[str, Any]] = [{"name": k, "value": v} for k, v in _env(words, environ).items()]
    env_from: list[dict[str, Any]] = []
    files: list[SecretReference] = []
    for word in words.secret or ():
        reference, equals, target = word.partition("=")
        name, colon, key = reference.partition(":")
        if not name or (colon and not key) or (equals and not target):
            raise InvalidInputError(f"--secret {word}: write NAME[:KEY][=VAR|=/DIR]; never the value itself")
        if target.startswith("/"):
            items = [{"key": key, "path": key}] if key else ()
            files.append(
                SecretReference(deploy_type="volume", deploy_target=target, secret=name, items=items)
            )
        elif key:
            source = {"secretKeyRef": {"name": name, "key": key}}
            env.append({"name": target or key, "valueFrom": source})
        elif target:
            raise InvalidInputError(f"--secret {word}: a variable takes one key. Write {name}:KEY={target}")
        else:
            env_from.append({"secretRef": {"name": name}})
    return env, env_from, files


def _resources(words: PodWords) -> dict[str, dict[str, str]]:
    requests: dict[str, str] = {}
    limits: dict[str, str] = {}
    for name, word in (("cpu", words.cpu), ("memory", words.memory)):
        if word is None:
            continue
        request, colon, limit = word.partition(":")
        if not request and not limit:
            raise InvalidInputError(f"--{name} {word}: write REQUEST or REQUEST:LIMIT")
        if request:
            check_quantity(name, word, request, is_limit=not limit and not colon)
            requests[name] = request
        if limit:
            check_quantity(name, word, limit, is_limit=True)
        if limit or not colon:
            limits[name] = limit or request
    if words.gpu is not None:
        resource, equals, count = words.gpu.rpartition("=")
        check_count(words.gpu, count)
        # Devices are never overcommitted: the request is the limit.
        limits[resource if equals else GPU] = count
    return {key: value for key, value in (("requests", requests), ("limits", limits)) if value}


def _volumes(given: Sequence[str]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    volumes: list[dict[str, Any]] = []
    mounts: list[dict[str, Any]] = []
    for number, word in enumerate(given):
        source, mount = _empty(word) if word.startswith("empty:") else _mounted(word)
        name = f"mount-{number}"
        volumes.append({"name": name, **source})
        mounts.append({"name": name, **mount})
    return volumes, mounts


def _empty(word: str) -> tuple[dict[str, Any], dict[str, Any]]:
    _, path, *size = word.split(":")
    if not path.startswith("/") or len(size) > 1:
        raise InvalidInputError(f"--mount {word}: write empty:/PATH or empty:/PATH:SIZE")
    return {"emptyDir": {"sizeLimit": size[0]} if size and size[0] else {}}, {"mountPath": path}


def _mounted(word: str) -> tuple[dict[str, Any], dict[str, Any]]:
    kind, name, path, mode, *rest = [*word.split(":"), "", "", "", ""]
    fits = kind in _SOURCES and name and path.startswith("/") and mode in ("", "ro") and not any(rest)
    if not fits or (kind == "host" and not name.startswith("/")):
        raise InvalidInputError(f"--mount {word}: write {_MOUNTS}, with :ro behind it for reading only")
    mount: dict[str, Any] = {"mountPath": path}
    if mode == "ro":
        mount["readOnly"] = True
    return _SOURCES[kind](name), mount
