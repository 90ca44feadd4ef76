"""Pods as the API server's internal Go types print them: the form that error values and the diff of a refused update show.

The internal types differ from the v1 types in names, in order and in where host namespaces live; unset fields print as
their zero values. Not for anything on the wire. Source: pkg/apis/core/types.go, encoding/json, and
k8s.io/apimachinery/pkg/util/diff.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

from podbay.apiserver.schema.types import Schema, Type
from podbay.objects.quantity import Quantity

__all__ = ["diff", "same_spec", "to_go"]

_SPEC = "core/v1.PodSpec"
_SPEC_ORDER = (
    "volumes",
    "initContainers",
    "containers",
    "ephemeralContainers",
    "restartPolicy",
    "terminationGracePeriodSeconds",
    "activeDeadlineSeconds",
    "dnsPolicy",
    "nodeSelector",
    "serviceAccountName",
    "automountServiceAccountToken",
    "nodeName",
    "securityContext",
    "imagePullSecrets",
    "hostname",
    "subdomain",
    "setHostnameAsFQDN",
    "affinity",
    "schedulerName",
    "tolerations",
    "hostAliases",
    "priorityClassName",
    "priority",
    "preemptionPolicy",
    "dnsConfig",
    "readinessGates",
    "runtimeClassName",
    "overhead",
    "enableServiceLinks",
    "topologySpreadConstraints",
    "os",
    "schedulingGates",
    "resourceClaims",
    "resources",
    "hostnameOverride",
    "schedulingGroup",
)
_SECURITY_ORDER = (
    "seLinuxOptions",
    "windowsOptions",
    "runAsUser",
    "runAsGroup",
    "runAsNonRoot",
    "supplementalGroups",
    "supplementalGroupsPolicy",
    "fsGroup",
    "fsGroupChangePolicy",
    "sysctls",
    "seccompProfile",
    "appArmorProfile",
    "seLinuxChangePolicy",
)
_VOLUME_ORDER = (
    "name",
    "hostPath",
    "emptyDir",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "gitRepo",
    "secret",
    "nfs",
    "iscsi",
    "glusterfs",
    "persistentVolumeClaim",
    "rbd",
    "quobyte",
)
_ORDERS: Mapping[str, tuple[str, ...]] = {
    _SPEC: _SPEC_ORDER,
    "core/v1.PodSecurityContext": _SECURITY_ORDER,
    "core/v1.Volume": _VOLUME_ORDER,
}
"""Where the internal order differs. Volume lists its beginning; the rest follows as in v1."""

_HOST_FIELDS = ("hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace", "hostUsers")
"""Fields of the v1 spec that the internal type keeps first in its security context."""
_POINTERS_OF_HOST = ("shareProcessNamespace", "hostUsers")

_GO_NAMES = {
    "apiGroup": "APIGroup",
    "apiVersion": "APIVersion",
    "awsElasticBlockStore": "AWSElasticBlockStore",
    "cephfs": "CephFS",
    "csi": "CSI",
    "dnsConfig": "DNSConfig",
    "dnsPolicy": "DNSPolicy",
    "diskURI": "DataDiskURI",
    "endpoints": "EndpointsName",
    "fc": "FC",
    "fsGroup": "FSGroup",
    "fsGroupChangePolicy": "FSGroupChangePolicy",
    "fsType": "FSType",
    "gcePersistentDisk": "GCEPersistentDisk",
    "gmsaCredentialSpec": "GMSACredentialSpec",
    "gmsaCredentialSpecName": "GMSACredentialSpecName",
    "grpc": "GRPC",
    "httpGet": "HTTPGet",
    "httpHeaders": "HTTPHeaders",
    "ip": "IP",
    "iqn": "IQN",
    "iscsi": "ISCSI",
    "iscsiInterface": "ISCSIInterface",
    "chapAuthDiscovery": "DiscoveryCHAPAuth",
    "chapAuthSession": "SessionCHAPAuth",
    "nfs": "NFS",
    "os": "OS",
    "pdName": "PDName",
    "rbd": "RBD",
    "scaleIO": "ScaleIO",
    "seLinuxChangePolicy": "SELinuxChangePolicy",
    "seLinuxOptions": "SELinuxOptions",
    "storageos": "StorageOS",
    "tcpSocket": "TCPSocket",
    "targetWWNs": "TargetWWNs",
    "tty": "TTY",
    "wwids": "WWIDs",
}
_ZEROS: Mapping[str, Any] = {
    "string": "",
    "bool": False,
    "int32": 0,
    "int64": 0,
    "uint8": 0,
    "float": 0,
    "quantity": "0",
    "intOrString": 0,
}


def to_go(type_name: str, value: Mapping[str, Any]) -> dict[str, Any]:
    """A value of a v1 struct ("core/v1.SecurityContext") with the fields and zeros of the internal one, in its order."""
    return _struct(type_name, value, empty_as_null=False)


def same_spec(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Two pod specs mean the same: an empty list or map is as good as none, quantities compare by value."""
    if one == other:
        return True
    return _struct(_SPEC, one, empty_as_null=True) == _struct(_SPEC, other, empty_as_null=True)


def diff(type_name: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """The unified diff, without file names, of two values printed as Go does."""
    lines = difflib.unified_diff(_lines(to_go(type_name, old)), _lines(to_go(type_name, new)), n=3)
    return "".join([*lines][2:])


def _lines(value: Any) -> list[str]:
    text = json.dumps(value, indent=1, ensure_ascii=False, separators=(",", ": "))
    # encoding/json escapes what HTML could misread.
    for char in "<>&\u2028\u2029":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return [line + "\n" for line in text.split("\n")]


@cache
def _fields(type_name: str) -> tuple[tuple[str, str, Type], ...]:
    """(JSON name, Go name, type) in the internal order."""
    fields = Schema.load().struct(type_name).fields
    order: Iterable[str] = fields
    if type_name in _ORDERS:
        first = _ORDERS[type_name]
        rest = (name for name in fields if name not in first) if type_name == "core/v1.Volume" else ()
        order = (*first, *rest)
    return tuple((name, _go_name(name), fields[name].type) for name in order)


def _go_name(name: str) -> str:
    return _GO_NAMES.get(name) or name[0].upper() + name[1:]


def _struct(type_name: str, value: Mapping[str, Any], *, empty_as_null: bool) -> dict[str, Any]:
    if type_name.startswith("meta/"):
        # These types are the same on the wire and inside.
        return {k: v for k, v in value.items() if v not in (None, "", [], {})}
    out = {
        go_name: _value(type_, value.get(name), empty_as_null=empty_as_null)
        for name, go_name, type_ in _fields(type_name)
    }
    if type_name == _SPEC and out["SecurityContext"] is not None:
        host = {
            _go_name(name): value.get(name) if name in _POINTERS_OF_HOST else bool(value.get(name))
            for name in _HOST_FIELDS
        }
        out["SecurityContext"] = {**host, **out["SecurityContext"]}
    return out


def _value(type_: Type, value: Any, *, empty_as_null: bool) -> Any:
    if value is None:
        if type_.pointer or type_.kind in ("list", "map", "bytes", "any"):
            return None
        if type_.kind == "struct":
            return _struct(type_.struct_name, {}, empty_as_null=empty_as_null)
        return _ZEROS.get(type_.kind)
    if type_.kind == "quantity":
        quantity = Quantity.from_json(value)
        return quantity.nanos if empty_as_null else str(quantity)
    if type_.kind == "struct":
        return _struct(type_.struct_name, value, empty_as_null=empty_as_null)
    if type_.kind in ("list", "map") and not value and empty_as_null:
        return None
    if type_.kind == "list" and type_.elem is not None:
        return [_value(type_.elem, item, empty_as_null=empty_as_null) for item in value]
    if type_.kind == "map" and type_.elem is not None:
        return {k: _value(type_.elem, value[k], empty_as_null=empty_as_null) for k in sorted(value)}
    return value
