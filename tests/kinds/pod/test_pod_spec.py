"""Refusals that concern the pod as a whole."""

from __future__ import annotations

from typing import Any

import pytest

REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"


@pytest.mark.parametrize(
    ("spec", "causes"),
    [
        ({"containers": []}, ["containers: Required value"]),
        (
            {"restartPolicy": "Sometimes"},
            [
                'restartPolicy: Unsupported value: "Sometimes": '
                'supported values: "Always", "OnFailure", "Never"',
            ],
        ),
        (
            {"activeDeadlineSeconds": 0},
            ["activeDeadlineSeconds: Invalid value: 0: must be between 1 and 2147483647, inclusive"],
        ),
        (
            {"volumes": [{"name": "v", "emptyDir": {}, "hostPath": {"path": "/x"}}]},
            ["volumes[0].hostPath: Forbidden: may not specify more than 1 volume type"],
        ),
        (
            {"volumes": [{"name": "v"}, {"name": "v"}]},
            ['volumes[1].name: Duplicate value: "v"'],
        ),
        (
            {"volumes": [{"name": "v", "hostPath": {"path": "a/.."}}]},
            ["volumes[0].hostPath.path: Invalid value: \"a/..\": must not contain '..'"],
        ),
        (
            {"tolerations": [{"key": "a", "operator": "Exists", "value": "x"}]},
            [
                "tolerations[0].operator: Invalid value: \"x\": value must be empty when `operator` is 'Exists'"
            ],
        ),
        (
            {"affinity": {"nodeAffinity": {REQUIRED: {"nodeSelectorTerms": []}}}},
            [
                f"affinity.nodeAffinity.{REQUIRED}.nodeSelectorTerms: "
                "Required value: must have at least one node selector term",
            ],
        ),
        (
            {
                "affinity": {
                    "podAntiAffinity": {
                        PREFERRED: [
                            {
                                "weight": 101,
                                "podAffinityTerm": {"topologyKey": "a", "labelSelector": {}},
                            }
                        ]
                    }
                }
            },
            [
                f"affinity.podAntiAffinity.{PREFERRED}[0].weight: "
                "Invalid value: 101: must be in the range 1-100"
            ],
        ),
        (
            {
                "topologySpreadConstraints": [
                    {
                        "maxSkew": 0,
                        "topologyKey": "a",
                        "whenUnsatisfiable": "DoNotSchedule",
                        "labelSelector": {},
                    }
                ]
            },
            ["topologySpreadConstraints[0].maxSkew: Invalid value: 0: must be greater than zero"],
        ),
        ({"schedulingGates": [{"name": "a"}, {"name": "a"}]}, ['schedulingGates[1]: Duplicate value: "a"']),
        (
            {"schedulingGates": [{"name": "a"}], "nodeName": "n"},
            ["nodeName: Forbidden: cannot be set until all schedulingGates have been cleared"],
        ),
        (
            {"ephemeralContainers": [{"name": "e", "image": "x"}]},
            ["ephemeralContainers: Forbidden: cannot be set on create"],
        ),
        ({"os": {"name": "beos"}}, ['os: Unsupported value: "beos": supported values: "linux", "windows"']),
        (
            {"dnsPolicy": "None", "dnsConfig": {}},
            [
                "dnsConfig.nameservers: Required value: "
                "must provide at least one DNS nameserver when `dnsPolicy` is None"
            ],
        ),
        (
            {"securityContext": {"fsGroup": -1}},
            ["securityContext.fsGroup: Invalid value: -1: must be between 0 and 2147483647, inclusive"],
        ),
        (
            {"hostAliases": [{"ip": "x", "hostnames": ["a"]}]},
            [
                'hostAliases[0].ip: Invalid value: "x": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)'
            ],
        ),
    ],
)
def test_refused(pods: Any, spec: dict[str, Any], causes: list[str]) -> None:
    assert pods.refusals(spec) == [f"spec.{cause}" for cause in causes]


def test_a_host_port_equals_its_port_on_the_host_network(pods: Any) -> None:
    assert pods.refusals({"hostNetwork": True}, ports=[{"containerPort": 1, "hostPort": 2}]) == [
        "spec.containers[0].ports[0].hostPort: "
        "Invalid value: 2: must match `containerPort` when `hostNetwork` is true"
    ]


def test_a_structure_is_quoted_in_the_form_the_server_keeps_it(pods: Any) -> None:
    (cause,) = pods.refusals({"resourceClaims": [{"name": "c"}]})
    assert cause.startswith(
        'spec.resourceClaims[0]: Invalid value: {"Name":"c","ResourceClaimName":null,'
        '"ResourceClaimTemplateName":null}: must specify one of:'
    )


def test_annotations_with_a_meaning_are_checked(pods: Any) -> None:
    body = pods.body()
    body["metadata"]["annotations"] = {"controller.kubernetes.io/pod-deletion-cost": "x"}
    assert pods.server.refusals("POST", pods.path, body) == [
        "metadata.annotations[controller.kubernetes.io/pod-deletion-cost]: "
        'Invalid value: "x": must be a 32bit integer'
    ]


def test_doubtful_fields_are_granted_with_a_warning(pods: Any) -> None:
    twice = [{"name": "a", "value": "1"}, {"name": "a", "value": "2"}]
    pods.accepted({"terminationGracePeriodSeconds": -1}, env=twice, resources={"limits": {"memory": "1m"}})
    assert pods.server.warnings == [
        'spec.containers[0].resources.limits[memory]: fractional byte value "1m" is invalid, must be an integer',
        "spec.containers[0].resources.requests[memory]: "
        'fractional byte value "1m" is invalid, must be an integer',
        'spec.containers[0].env[1]: hides previous definition of "a", which may be dropped when using apply',
        "spec.terminationGracePeriodSeconds: "
        "must be >= 0; negative values are invalid and will be treated as 1",
    ]
