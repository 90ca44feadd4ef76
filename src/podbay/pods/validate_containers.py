"""Refuse early, the part about one container: image, environment, mounts, ports, sizes. See validate.py."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final

from podbay.objects import names
from podbay.objects.quantity import Quantity
from podbay.pods.problems import Problem

__all__ = ["container_problems"]

# MAX_ARG_STRLEN of Linux: 32 pages of 4 KiB, including the final zero byte. A longer word makes every exec fail with
# "argument list too long", minutes later and on the node.
_WORD_MAX: Final = 131_071
_ENUMS: Final = {
    "imagePullPolicy": ("Always", "IfNotPresent", "Never"),
    "terminationMessagePolicy": ("File", "FallbackToLogsOnError"),
}


def container_problems(
    container: Mapping[str, Any], path: str, volumes: Collection[str | None]
) -> Iterator[Problem]:
    """What is wrong with a container at `path`, in a pod that has these volumes."""
    name, image = container.get("name") or "", container.get("image") or ""
    yield from _each(f"{path}.name", names.dns1123_label_errors(name) if name else ["is required"])
    if not image:
        yield Problem(f"{path}.image", "is required: say which image the container runs")
    elif image != image.strip():
        yield Problem(f"{path}.image", "must not have blanks before or after it")
    for field, allowed in _ENUMS.items():
        if container.get(field) and container[field] not in allowed:
            yield Problem(f"{path}.{field}", f"must be one of {', '.join(allowed)}")
    yield from _words(container, path)
    yield from _environment(container, path)
    yield from _mounts(container, path, volumes)
    yield from _ports(container, path)
    yield from _resources(container.get("resources") or {}, f"{path}.resources")


def _words(container: Mapping[str, Any], path: str) -> Iterator[Problem]:
    for field in ("command", "args"):
        for index, word in enumerate(container.get(field) or ()):
            yield from _word(word, f"{path}.{field}[{index}]", "put the text into a ConfigMap or a volume")


def _word(word: str, path: str, remedy: str) -> Iterator[Problem]:
    size = len(word.encode())
    if size > _WORD_MAX:
        yield Problem(path, f"has {size} bytes; Linux starts no program with one over {_WORD_MAX}: {remedy}")


def _environment(container: Mapping[str, Any], path: str) -> Iterator[Problem]:
    for index, variable in enumerate(container.get("env") or ()):
        where, name = f"{path}.env[{index}]", variable.get("name") or ""
        yield from _each(
            f"{where}.name", names.relaxed_env_var_name_errors(name) if name else ["is required"]
        )
        yield from _word(f"{name}={variable.get('value') or ''}", f"{where}.value", "mount it as a file")
        source = variable.get("valueFrom")
        if source is None:
            continue
        if variable.get("value"):
            yield Problem(f"{where}.valueFrom", "may not be given together with value")
        if len(source) != 1:
            yield Problem(f"{where}.valueFrom", "must have exactly one source (secretKeyRef, fieldRef, …)")
        for kind in ("secretKeyRef", "configMapKeyRef"):
            if kind in source:
                yield from _key_reference(source[kind], f"{where}.valueFrom.{kind}")
    for index, source in enumerate(container.get("envFrom") or ()):
        where, found = (
            f"{path}.envFrom[{index}]",
            [kind for kind in ("configMapRef", "secretRef") if kind in source],
        )
        if len(found) != 1:
            yield Problem(where, "must have exactly one of configMapRef and secretRef")
        for kind in found:
            yield from _object_name(source[kind].get("name") or "", f"{where}.{kind}.name")


def _key_reference(reference: Mapping[str, Any], path: str) -> Iterator[Problem]:
    yield from _object_name(reference.get("name") or "", f"{path}.name")
    key = reference.get("key") or ""
    yield from _each(f"{path}.key", names.config_map_key_errors(key) if key else ["is required"])


def _object_name(name: str, path: str) -> Iterator[Problem]:
    yield from _each(path, names.dns1123_subdomain_errors(name) if name else ["is required"])


def _mounts(container: Mapping[str, Any], path: str, volumes: Collection[str | None]) -> Iterator[Problem]:
    seen = set()
    for index, mount in enumerate(container.get("volumeMounts") or ()):
        where, target = f"{path}.volumeMounts[{index}]", mount.get("mountPath") or ""
        if not mount.get("name"):
            yield Problem(f"{where}.name", "is required")
        elif mount["name"] not in volumes:
            yield Problem(f"{where}.name", f"there is no volume {mount['name']}; add it to the pod's volumes")
        if not target:
            yield Problem(f"{where}.mountPath", "is required")
        elif target in seen:
            yield Problem(f"{where}.mountPath", f"another volume is mounted at {target}")
        seen.add(target)
        sub_path = mount.get("subPath") or ""
        if sub_path.startswith("/") or ".." in sub_path.split("/"):
            yield Problem(f"{where}.subPath", "must be a path inside of the volume, without '..'")
    for index, device in enumerate(container.get("volumeDevices") or ()):
        if device.get("name") not in volumes:
            message = f"there is no volume {device.get('name')}; add it to the pod's volumes"
            yield Problem(f"{path}.volumeDevices[{index}].name", message)


def _ports(container: Mapping[str, Any], path: str) -> Iterator[Problem]:
    seen = set()
    for index, port in enumerate(container.get("ports") or ()):
        where, name = f"{path}.ports[{index}]", port.get("name")
        number = port.get("containerPort")
        problems = names.port_number_errors(number) if number else ["is required"]
        yield from _each(f"{where}.containerPort", problems)
        if name:
            yield from _each(f"{where}.name", names.port_name_errors(name))
            if name in seen:
                yield Problem(f"{where}.name", f"{name} is the name of another port too")
            seen.add(name)
        if (port.get("protocol") or "TCP") not in ("TCP", "UDP", "SCTP"):
            yield Problem(f"{where}.protocol", "must be one of TCP, UDP, SCTP")


def _resources(resources: Mapping[str, Any], path: str) -> Iterator[Problem]:
    read: dict[str, dict[str, Quantity]] = {"limits": {}, "requests": {}}
    for part in read:
        for name, text in (resources.get(part) or {}).items():
            where = f"{path}.{part}[{name}]"
            try:
                quantity = Quantity.from_json(text)
            except ValueError as err:
                yield Problem(where, str(err))
                continue
            if quantity.sign < 0:
                yield Problem(where, "must be greater than or equal to 0")
            read[part][name] = quantity
    for name, request in read["requests"].items():
        limit = read["limits"].get(name)
        if limit is not None and request > limit:
            message = f"must be less than or equal to {name} limit of {limit}"
            yield Problem(f"{path}.requests[{name}]", message)


def _each(path: str, messages: list[str]) -> Iterator[Problem]:
    for message in messages:
        yield Problem(path, message)
