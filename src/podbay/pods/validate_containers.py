"""Refuse early, the part about one container: image, environment, mounts, ports, sizes. See validate.py."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final

from podbay.objects import names
from podbay.objects.quantity import Quantity
from podbay.pods.problems import Problem

__all__ = ["container_problems", "profile_problems", "quantity_problems", "reference_problems"]

# MAX_ARG_STRLEN of Linux: 32 pages of 4 KiB, including the final zero byte. A longer word makes every exec fail with
# "argument list too long", minutes later and on the node.
_WORD_MAX: Final = 131_071
_FIELD_PATH: Final = re.compile(
    r"metadata\.(name|namespace|uid|(labels|annotations)\['[^']+'\])|spec\.(nodeName|serviceAccountName)"
    r"|status\.(hostIP|hostIPs|podIP|podIPs)"
)
_HANDLERS: Final = ("exec", "grpc", "httpGet", "tcpSocket")
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
    yield from _probes(container, path)
    yield from profile_problems(container.get("securityContext") or {}, f"{path}.securityContext")
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
        field = (source.get("fieldRef") or {}).get("fieldPath")
        if "fieldRef" in source and not _FIELD_PATH.fullmatch(field or ""):
            yield Problem(
                f"{where}.valueFrom.fieldRef.fieldPath", f"{field or 'nothing'} is no field for variables"
            )
    for index, source in enumerate(container.get("envFrom") or ()):
        where, found = (
            f"{path}.envFrom[{index}]",
            [kind for kind in ("configMapRef", "secretRef") if kind in source],
        )
        if len(found) != 1:
            yield Problem(where, "must have exactly one of configMapRef and secretRef")
        for kind in found:
            yield from reference_problems(source[kind].get("name") or "", f"{where}.{kind}.name")


def _key_reference(reference: Mapping[str, Any], path: str) -> Iterator[Problem]:
    yield from reference_problems(reference.get("name") or "", f"{path}.name")
    key = reference.get("key") or ""
    yield from _each(f"{path}.key", names.config_map_key_errors(key) if key else ["is required"])


def reference_problems(name: str, path: str) -> Iterator[Problem]:
    """What is wrong with the name of a Secret or ConfigMap. An API server takes any; the pod would wait for ever."""
    for message in names.dns1123_subdomain_errors(name) if name else ["it is empty"]:
        yield Problem(path, f"names no object that can exist: {message}")


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
    for part in ("limits", "requests"):
        for name, text in (resources.get(part) or {}).items():
            yield from quantity_problems(text, f"{path}.{part}[{name}]")
    limits, requests = resources.get("limits") or {}, resources.get("requests") or {}
    for name, text in requests.items():
        request, limit = _quantity(text), _quantity(limits.get(name))
        where = f"{path}.requests[{name}]"
        if request is None:
            continue
        if _is_extended(name) and request != limit:
            yield Problem(where, f"must be equal to the limit of {name}, which may not be overcommitted")
        elif limit is not None and request > limit:
            yield Problem(where, f"must be less than or equal to {name} limit of {limit}")


def quantity_problems(text: str, path: str) -> Iterator[Problem]:
    """What is wrong with one quantity."""
    try:
        if Quantity.from_json(text).sign < 0:
            yield Problem(path, "must be greater than or equal to 0")
    except ValueError as err:
        yield Problem(path, str(err))


def _quantity(text: str | None) -> Quantity | None:
    try:
        return None if text is None else Quantity.from_json(text)
    except ValueError:
        return None


def _is_extended(resource: str) -> bool:
    """Devices such as nvidia.com/gpu, and huge pages: never more is promised than what is there."""
    if resource.startswith("hugepages-"):
        return True
    domain, slash, _ = resource.partition("/")
    return bool(slash) and domain != "kubernetes.io" and not domain.endswith(".kubernetes.io")


def _probes(container: Mapping[str, Any], path: str) -> Iterator[Problem]:
    for field in ("livenessProbe", "readinessProbe", "startupProbe"):
        if field in container and len([each for each in _HANDLERS if each in container[field]]) != 1:
            yield Problem(f"{path}.{field}", f"must have exactly one of {', '.join(_HANDLERS)}")


def profile_problems(security: Mapping[str, Any], path: str) -> Iterator[Problem]:
    """What is wrong with the profiles and users of a security context, a pod's or a container's."""
    for field in ("appArmorProfile", "seccompProfile"):
        kind = (security.get(field) or {}).get("type")
        if field in security and kind not in ("RuntimeDefault", "Localhost", "Unconfined"):
            yield Problem(f"{path}.{field}.type", "must be one of RuntimeDefault, Localhost, Unconfined")
    for field, rule in (("runAsUser", names.user_id_errors), ("runAsGroup", names.group_id_errors)):
        if security.get(field) is not None:
            yield from _each(f"{path}.{field}", rule(security[field]))


def _each(path: str, messages: list[str]) -> Iterator[Problem]:
    for message in messages:
        yield Problem(path, message)
