"""Go's sentences for bodies that do not fit, by the rule rather than by recording."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from podbay.apiserver.schema.decode import (
    Decoded,
    Target,
    convert_map,
    decode,
    decode_options,
    normalize,
    normalize_strict,
)
from podbay.apiserver.schema.types import Schema
from podbay.errors import ApiError

SCHEMA = Schema.load()
POD = Target("Pod", "v1", "io.k8s.api.core.v1.Pod")
SECRET = Target("Secret", "v1", "io.k8s.api.core.v1.Secret")
EVENT = Target("Event", "v1", "io.k8s.api.core.v1.Event")
EVICTION = Target("Eviction", "policy/v1", "io.k8s.api.policy.v1.Eviction", also=("policy/v1beta1",))
HANDLED = 'Pod in version "v1" cannot be handled as a Pod: '
PARSE = (
    "the object provided is unrecognized (must be of type Pod): couldn't get version/kind; json parse error: "
)


def refusal(data: Any, target: Target = POD, **options: Any) -> str:
    with pytest.raises(ApiError) as caught:
        decode(SCHEMA, target, data, **options)
    assert (caught.value.code, caught.value.reason) == (400, "BadRequest")
    return caught.value.message


def pod(spec: bytes = b"{}", metadata: bytes = b"{}") -> bytes:
    return b'{"metadata":' + metadata + b',"spec":' + spec + b"}"


def accepted(data: Any, target: Target = POD, **options: Any) -> Decoded:
    return decode(SCHEMA, target, data, **options)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (b"{", "unexpected end of JSON input ({)"),
        (b"{]", "invalid character ']' looking for beginning of object key string ({])"),
        (b'{"a"}', "invalid character '}' after object key ({\"a\"})"),
        (b'{"a":1 2}', "invalid character '2' after object key:value pair ({\"a\":1 2})"),
        (b'{"a":[1 2]}', "invalid character '2' after array element ({\"a\":[1 2]})"),
        (b"{} {", "invalid character '{' after top-level value ({} {)"),
        (b'{"a":tru', "invalid character ' ' in literal true (expecting 'e') ({\"a\":tru)"),
        (b'{"a":nul}', "invalid character '}' in literal null (expecting 'l') ({\"a\":nul})"),
        (b'{"a":-}', "invalid character '}' in numeric literal ({\"a\":-})"),
        (b'{"a":1.}', "invalid character '}' after decimal point in numeric literal ({\"a\":1.})"),
        (b'{"a":1e}', "invalid character '}' in exponent of numeric literal ({\"a\":1e})"),
        (b'{"a":01}', "invalid character '1' after object key:value pair ({\"a\":01})"),
        (b'{"a":NaN}', "invalid character 'N' looking for beginning of value ({\"a\":NaN})"),
        (b'{"a":"\\q"}', 'invalid character \'q\' in string escape code ({"a":"\\q"})'),
        (b'{"a":"\\u00g"}', 'invalid character \'g\' in \\u hexadecimal character escape ({"a":"\\u00g"})'),
        (b'{"a":"\n"}', 'invalid character \'\\n\' in string literal ({"a":"\n"})'),
        (b"{'a':1}", "invalid character '\\'' looking for beginning of object key string ({'a':1})"),
        (b"\xff", "invalid character 'ÿ' looking for beginning of value (ff)"),
        (b"kind: Pod", "invalid character 'k' looking for beginning of value (6b696e643a20506f64)"),
        (b"[" * 10001, "invalid character '[' exceeded max depth (" + "5b" * 30 + " ...)"),
        (b'{"a":1,}', "invalid character '}' looking for beginning of object key string ({\"a\":1,})"),
    ],
)
def test_syntax(text: bytes, sentence: str) -> None:
    assert refusal(text) == PARSE + sentence


def test_kind_that_is_no_string() -> None:
    expected = PARSE + "json: cannot unmarshal number into Go struct field .kind of type string "
    assert refusal(b'{"kind":1}') == expected + '({"kind":1})'


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        (b'{"hostNetwork":"yes"}', "string into Go struct field PodSpec.spec.hostNetwork of type bool"),
        (b'{"priority":1.5}', "number 1.5 into Go struct field PodSpec.spec.priority of type int32"),
        (
            b'{"priority":4294967296}',
            "number 4294967296 into Go struct field PodSpec.spec.priority of type int32",
        ),
        (b'{"priority":1e400}', "number 1e400 into Go struct field PodSpec.spec.priority of type int32"),
        (
            b'{"restartPolicy":1}',
            "number into Go struct field PodSpec.spec.restartPolicy of type v1.RestartPolicy",
        ),
        (b'{"nodeSelector":{"a":1}}', "number into Go struct field PodSpec.spec.nodeSelector of type string"),
        (
            b'{"nodeSelector":[]}',
            "array into Go struct field PodSpec.spec.nodeSelector of type map[string]string",
        ),
        (b'{"containers":[1]}', "number into Go struct field PodSpec.spec.containers of type v1.Container"),
        (
            b'{"containers":[{"command":"x"}]}',
            "string into Go struct field Container.spec.containers.command of type []string",
        ),
        (
            b'{"volumes":[{"emptyDir":true}]}',
            "bool into Go struct field Volume.spec.volumes.emptyDir of type v1.EmptyDirVolumeSource",
        ),
        (
            b'{"containers":[{"livenessProbe":{"httpGet":{"port":true}}}]}',
            "bool into Go struct field HTTPGetAction.spec.containers.livenessProbe.httpGet.port of type int32",
        ),
        (
            b'{"containers":[{"resources":{"limits":[]}}]}',
            "array into Go struct field ResourceRequirements.spec.containers.resources.limits of type v1.ResourceList",
        ),
    ],
)
def test_types(spec: bytes, sentence: str) -> None:
    assert refusal(pod(spec)) == HANDLED + "json: cannot unmarshal " + sentence


def test_first_type_error_is_told_but_a_bad_quantity_ends_the_decoding() -> None:
    two = b'{"hostNetwork":1,"hostPID":2}'
    assert "PodSpec.spec.hostNetwork" in refusal(pod(two))
    later = b'{"hostNetwork":1,"containers":[{"resources":{"limits":{"cpu":"lots"}}}]}'
    assert refusal(pod(later)).startswith(HANDLED + "quantities must match")


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (b'"soon"', 'parsing time "soon" as "2006-01-02T15:04:05Z07:00": cannot parse "soon" as "2006"'),
        (b'""', 'parsing time "" as "2006-01-02T15:04:05Z07:00": cannot parse "" as "2006"'),
        (b'"2024-13-01T00:00:00Z"', 'parsing time "2024-13-01T00:00:00Z": month out of range'),
        (b'"2023-02-29T00:00:00Z"', 'parsing time "2023-02-29T00:00:00Z": day out of range'),
        (b'"2024-01-01T00:00:00Zx"', 'parsing time "2024-01-01T00:00:00Zx": extra text: "x"'),
        (
            b'"2024-01-01T00:00:00"',
            'parsing time "2024-01-01T00:00:00" as "2006-01-02T15:04:05Z07:00": cannot parse "" as "Z07:00"',
        ),
        (
            b"17",
            "json: cannot unmarshal number into Go struct field ObjectMeta.metadata.deletionTimestamp of type string",
        ),
    ],
)
def test_times(value: bytes, sentence: str) -> None:
    assert refusal(pod(metadata=b'{"deletionTimestamp":' + value + b"}")) == HANDLED + sentence


@pytest.mark.parametrize(
    ("value", "position"),
    [
        ("QQ", 0),
        ("QUJDR", 4),
        ("QQ=", 3),
        ("QQ=x", 3 - 1),
        ("QQ==x", 4),
        ("Q=", 1),
        ("QUI=QQ==", 4),
        ("é", 0),
    ],
)
def test_base64(value: str, position: int) -> None:
    message = refusal(orjson.dumps({"data": {"a": value}}), SECRET)
    assert message == (
        f'Secret in version "v1" cannot be handled as a Secret: illegal base64 data at input byte {position}'
    )


def test_base64_takes_what_go_takes() -> None:
    taken = accepted(b'{"data":{"a":"QU\\nJD","b":[65,66],"c":null,"d":""}}', SECRET).obj["data"]
    assert taken == {"a": "QUJD", "b": "QUI=", "c": "", "d": ""}


def test_strict_errors_in_the_order_of_the_text_without_repeats() -> None:
    data = pod(
        b'{"x":1,"containers":[{"y":1,"env":[{"name":"a","z":1}]},{"y":1}],"x":2}', b'{"name":"a","name":"b"}'
    )
    texts = [
        'duplicate field "metadata.name"',
        'unknown field "spec.x"',
        'unknown field "spec.containers[0].y"',
        'unknown field "spec.containers[0].env[0].z"',
        'unknown field "spec.containers[1].y"',
    ]
    assert accepted(data).warnings == texts
    strict = refusal(data, field_validation="Strict")
    assert strict == HANDLED + "strict decoding error: " + ", ".join(texts)


def test_strict_errors_stop_at_a_hundred() -> None:
    data = orjson.dumps({"spec": {f"x{i}": 1 for i in range(500)}})
    assert len(accepted(data).warnings) == 100


def test_case_matters_for_fields() -> None:
    decoded = accepted(pod(b'{"NodeName":"n","nodeName":"m"}'))
    assert decoded.obj["spec"]["nodeName"] == "m"
    assert decoded.warnings == ['unknown field "spec.NodeName"']


def test_repeated_structs_are_merged() -> None:
    decoded = accepted(b'{"metadata":{"name":"a"},"metadata":{"namespace":"b"}}')
    assert decoded.obj["metadata"] == {"name": "a", "namespace": "b"}


def test_kinds_of_other_groups() -> None:
    assert refusal(b'{"kind":"Deployment","apiVersion":"apps/v1"}') == (
        'Deployment in version "v1" cannot be handled as a Pod: '
        "converting (v1.Deployment) to (core.Pod): unknown conversion"
    )
    assert refusal(b'{"apiVersion":"a/b/c"}').startswith(
        "the object provided is unrecognized (must be of type Pod): unexpected GroupVersion string: a/b/c "
    )
    assert refusal(b'{"apiVersion":"apps/"}') == (
        'Pod in version "" cannot be handled as a Pod: '
        "Object 'apiVersion' is missing in '{\"apiVersion\":\"apps/\"}'"
    )
    assert refusal(b'{"kind":"Event","apiVersion":"events.k8s.io/v1"}', EVENT) == (
        "the API version in the data (events.k8s.io/v1) does not match the expected API version (v1)"
    )


def test_a_wrong_kind_is_read_as_what_it_says_it_is() -> None:
    assert refusal(b'{"kind":"Secret","apiVersion":"v1","data":1}') == (
        'Secret in version "v1" cannot be handled as a Pod: '
        "json: cannot unmarshal number into Go struct field Secret.data of type map[string][]uint8"
    )


def test_also_accepted_versions() -> None:
    body = b'{"kind":"Eviction","apiVersion":"policy/v1beta1","metadata":{"name":"p"}}'
    assert accepted(body, EVICTION).obj["apiVersion"] == "policy/v1"


def test_options_of_a_delete() -> None:
    assert decode_options(SCHEMA, b'{"gracePeriodSeconds":0}') == {"gracePeriodSeconds": 0}
    full = {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Foreground", "x": 1}
    assert decode_options(SCHEMA, orjson.dumps(full))["propagationPolicy"] == "Foreground"
    for body, sentence in {
        b"[]": "couldn't get version/kind; json parse error: json: cannot unmarshal array into Go value of type struct",
        b'{"gracePeriodSeconds":"0"}': (
            "json: cannot unmarshal string into Go struct field DeleteOptions.gracePeriodSeconds of type int64"
        ),
        b'{"kind":"Pod","apiVersion":"v1"}': 'no kind "Pod" is registered for version "v1" in scheme',
    }.items():
        with pytest.raises(ApiError) as caught:
            decode_options(SCHEMA, body)
        assert caught.value.message.startswith(sentence)


def test_normalize_says_what_does_not_fit() -> None:
    with pytest.raises(ApiError) as caught:
        normalize(SCHEMA, POD.type_name, {"spec": {"hostNetwork": "x"}})
    assert caught.value.message == (
        "json: cannot unmarshal string into Go struct field PodSpec.spec.hostNetwork of type bool"
    )
    dropped = normalize_strict(SCHEMA, POD.type_name, {"spec": {"a": 1}, "b": 2})
    assert dropped.warnings == ['unknown field "spec.a"', 'unknown field "b"']


@pytest.mark.parametrize(
    ("patched", "sentence"),
    [
        ({"spec": {"activeDeadlineSeconds": "5"}}, "unrecognized type: int64"),
        ({"spec": {"activeDeadlineSeconds": 1.5}}, "cannot convert float64 to int64"),
        ({"spec": {"nodeName": 1}}, "cannot convert int64 to string"),
        ({"spec": {"restartPolicy": 1}}, "cannot convert int64 to v1.RestartPolicy"),
        ({"spec": {"restartPolicy": True}}, "unrecognized type: string"),
        ({"spec": {"containers": {}}}, "cannot restore slice from map"),
        ({"spec": {"nodeSelector": []}}, "cannot restore map from slice"),
        ({"spec": 7}, "cannot restore struct from: int64"),
        (
            {"metadata": {"deletionTimestamp": 7}},
            "json: cannot unmarshal number into Go value of type string",
        ),
    ],
)
def test_converter_of_strategic_patches(patched: Any, sentence: str) -> None:
    with pytest.raises(ApiError) as caught:
        convert_map(SCHEMA, POD.type_name, patched)
    assert caught.value.message == sentence


def test_converter_forgives_and_sorts() -> None:
    spec = {
        "z": 1,
        "containers": [{"name": "a", "y": 1}],
        "activeDeadlineSeconds": 5.0,
        "priority": 2**32 + 1,
    }
    decoded = convert_map(SCHEMA, POD.type_name, {"spec": spec, "a": 1})
    assert decoded.warnings == [
        'unknown field "a"',
        'unknown field "spec.containers[0].y"',
        'unknown field "spec.z"',
    ]
    assert decoded.obj["spec"]["activeDeadlineSeconds"] == 5
    assert decoded.obj["spec"]["priority"] == 1
