"""ValidatingAdmissionPolicies from the request that makes them to the one that they refuse.

Words: k8s.io/apiserver/pkg/admission/plugin/policy/validating, pkg/apis/admissionregistration/validation.
"""

from __future__ import annotations

from typing import Any

import pytest
from whole_server import NAMESPACE, Server

from podbay.apiserver.kinds.validatingadmissionpolicy import VALIDATING_ADMISSION_POLICY
from podbay.apiserver.kinds.validatingadmissionpolicybinding import VALIDATING_ADMISSION_POLICY_BINDING
from podbay.apiserver.request import Request, User
from podbay.apiserver.result import ObjectResult
from podbay.errors import ApiError

GROUP = "/apis/admissionregistration.k8s.io/v1"
POLICIES = f"{GROUP}/validatingadmissionpolicies"
BINDINGS = f"{GROUP}/validatingadmissionpolicybindings"
CONFIG_MAPS = f"/api/v1/namespaces/{NAMESPACE}/configmaps"
Object = dict[str, Any]

CONFIG_MAP_WRITES: Object = {
    "resourceRules": [
        {
            "apiGroups": [""],
            "apiVersions": ["v1"],
            "operations": ["CREATE", "UPDATE", "DELETE"],
            "resources": ["configmaps"],
        }
    ]
}


def policy(*validations: Object, name: str = "p", **spec: Any) -> Object:
    spec = {"matchConstraints": CONFIG_MAP_WRITES, "validations": list(validations), **spec}
    return {"metadata": {"name": name}, "spec": spec}


def binding(name: str = "b", *, to: str = "p", actions: tuple[str, ...] = ("Deny",), **spec: Any) -> Object:
    return {
        "metadata": {"name": name},
        "spec": {"policyName": to, "validationActions": list(actions), **spec},
    }


def config_map(name: str = "x", **data: str) -> Object:
    return {"metadata": {"name": name}, "data": data}


def in_force(server: Server, *validations: Object, binding_spec: Object | None = None, **spec: Any) -> None:
    server.create(POLICIES, policy(*validations, **spec))
    server.create(BINDINGS, binding(**(binding_spec or {})))


def refusal(server: Server, obj: Object, path: str = CONFIG_MAPS) -> str:
    """The message of a denial without what says who denied; empty when the request was granted."""
    code, answer = server.call("POST", path, obj)
    return "" if code == 201 else str(answer["message"]).partition("denied request: ")[2] or answer["message"]


def test_defaults(server: Server) -> None:
    stored = server.create(POLICIES, policy({"expression": "true"}))
    assert stored["spec"]["failurePolicy"] == "Fail"
    assert stored["spec"]["matchConstraints"]["matchPolicy"] == "Equivalent"
    assert stored["spec"]["matchConstraints"]["namespaceSelector"] == {}
    assert stored["spec"]["matchConstraints"]["resourceRules"][0]["scope"] == "*"
    assert stored["metadata"]["generation"] == 1
    assert stored.get("status", {}) == {}


def test_rows(server: Server) -> None:
    kind = {"apiVersion": "v1", "kind": "ConfigMap"}
    stored = server.create(POLICIES, policy({"expression": "true"}, paramKind=kind))
    assert server.row(VALIDATING_ADMISSION_POLICY, stored) == ["p", 1, "v1/ConfigMap"]
    plain = server.create(POLICIES, policy({"expression": "true"}, name="q"))
    assert server.row(VALIDATING_ADMISSION_POLICY, plain) == ["q", 1, "<unset>"]
    rows = {
        "<unset>": {},
        "*/limits": {"paramRef": {"name": "limits", "parameterNotFoundAction": "Deny"}},
        "ns/limits": {"paramRef": {"name": "limits", "namespace": "ns", "parameterNotFoundAction": "Deny"}},
        "&LabelSelector{MatchLabels:map[string]string{a: b,},MatchExpressions:[]LabelSelectorRequirement{},}": {
            "paramRef": {"selector": {"matchLabels": {"a": "b"}}, "parameterNotFoundAction": "Allow"}
        },
    }
    for i, (cell, spec) in enumerate(rows.items()):
        stored = server.create(BINDINGS, binding(f"b{i}", **spec))
        assert server.row(VALIDATING_ADMISSION_POLICY_BINDING, stored) == [f"b{i}", "p", cell]


def test_bad_policies(server: Server) -> None:
    rule = {**CONFIG_MAP_WRITES["resourceRules"][0], "operations": ["*", "READ"], "apiGroups": []}
    bad = policy(
        {"expression": "object.foo("},
        {"expression": " ", "reason": "Gone", "message": "two\nlines"},
        {"expression": "true", "messageExpression": "1"},
        failurePolicy="Maybe",
        paramKind={"apiVersion": "a/b/c", "kind": "Config_Map"},
        matchConstraints={"resourceRules": [rule], "matchPolicy": "Fuzzy"},
        variables=[{"name": "in", "expression": "1 +"}],
        matchConditions=[{"name": "c", "expression": "1"}, {"name": "c", "expression": "variables.x"}],
        auditAnnotations=[{"key": "k", "valueExpression": "1"}, {"key": "k", "valueExpression": ""}],
    )
    found = server.refusals("POST", POLICIES, bad)
    starts = [
        'spec.failurePolicy: Unsupported value: "Maybe": supported values: "Fail", "Ignore"',
        'spec.paramKind.apiVersion: Invalid value: "a/b/c": unexpected GroupVersion string: a/b/c',
        'spec.paramKind.kind: Invalid value: "Config_Map": may have mixed case, but should otherwise match: ',
        'spec.matchConstraints.matchPolicy: Unsupported value: "Fuzzy"',
        "spec.matchConstraints.resourceRules[0].operations: Invalid value: "
        '["*","READ"]: if \'*\' is present, must not specify other operations',
        'spec.matchConstraints.resourceRules[0].operations[1]: Unsupported value: "READ"',
        "spec.matchConstraints.resourceRules[0].apiGroups: Required value",
        'spec.matchConditions[0].expression: Invalid value: "1": must evaluate to bool but got int',
        'spec.matchConditions[1].expression: Invalid value: "variables.x": compilation failed: ERROR: '
        "<input>:1:1: undeclared reference to 'variables'",
        'spec.matchConditions[1].name: Duplicate value: "c"',
        'spec.variables[0].name: Invalid value: "in": name is not a valid CEL identifier',
        'spec.variables[0].expression: Invalid value: "1 +": compilation failed: ERROR: <input>:1:4: Syntax error',
        'spec.validations[0].expression: Invalid value: "object.foo(": compilation failed: ERROR: <input>:1:12: ',
        "spec.validations[1].expression: Required value: expression is not specified",
        'spec.validations[1].message: Invalid value: "two\\nlines": message must not contain line breaks',
        'spec.validations[1].reason: Unsupported value: "Gone": supported values: '
        '"Forbidden", "Invalid", "RequestEntityTooLarge"',
        'spec.validations[2].messageExpression: Invalid value: "1": must evaluate to string but got int',
        "spec.auditAnnotations[0].valueExpression: Invalid value: "
        '"1": must evaluate to one of [string null_type] but got int',
        "spec.auditAnnotations[1].valueExpression: Required value: valueExpression is not specified",
        'spec.auditAnnotations[1].key: Duplicate value: "k"',
    ]
    for got, start in zip(found, starts, strict=True):
        assert got.startswith(start)


def test_empty_policy(server: Server) -> None:
    words = "Required value: validations or auditAnnotations must contain at least one item"
    assert server.refusals("POST", POLICIES, {"metadata": {"name": "p"}, "spec": {}}) == [
        "spec.matchConstraints: Required value",
        f"spec.validations: {words}",
        f"spec.auditAnnotations: {words}",
    ]


def test_bad_bindings(server: Server) -> None:
    reference = {"name": "a/b", "selector": {}}
    bad = binding(to="", actions=("Deny", "Warn", "Deny", "Log"), paramRef=reference, matchResources={})
    words = (
        "must not contain both Deny and Warn (repeating the same validation failure information in the API response "
        "and headers serves no purpose)"
    )
    assert server.refusals("POST", BINDINGS, bad) == [
        "spec.policyName: Required value",
        "spec.paramRef.name: Invalid value: \"a/b\": may not contain '/'",
        "spec.paramRef.name: Forbidden: name and selector are mutually exclusive",
        "spec.paramRef.selector: Forbidden: name and selector are mutually exclusive",
        "spec.paramRef.parameterNotFoundAction: Required value",
        'spec.validationActions[2]: Duplicate value: "Deny"',
        'spec.validationActions[3]: Unsupported value: "Log": supported values: "Audit", "Deny", "Warn"',
        f'spec.validationActions: Invalid value: ["Deny","Warn","Deny","Log"]: {words}',
    ]
    assert server.refusals("POST", BINDINGS, binding(actions=())) == [
        "spec.validationActions: Required value: at least one validation action is required"
    ]


def test_the_words_of_a_denial(server: Server) -> None:
    in_force(server, {"expression": "object.data.size() < 2", "message": "too many keys"})
    code, answer = server.call("POST", CONFIG_MAPS, config_map(a="1", b="2"))
    message = "ValidatingAdmissionPolicy 'p' with binding 'b' denied request: too many keys"
    assert code == 422
    assert answer["reason"] == "Invalid"
    assert answer["message"] == f'configmaps "x" is forbidden: {message}'
    assert answer["details"] == {"name": "x", "kind": "configmaps", "causes": [{"message": message}]}
    assert server.call("POST", CONFIG_MAPS, config_map(a="1"))[0] == 201


@pytest.mark.parametrize(
    ("reason", "code"), [("Forbidden", 403), ("Invalid", 422), ("RequestEntityTooLarge", 413)]
)
def test_reasons(server: Server, reason: str, code: int) -> None:
    in_force(server, {"expression": "false", "reason": reason})
    got, answer = server.call("POST", CONFIG_MAPS, config_map())
    assert (got, answer["reason"]) == (code, reason)


def test_messages(server: Server) -> None:
    in_force(
        server,
        {"expression": "object.metadata.name != 'a'"},
        {
            "expression": "object.metadata.name != 'b'",
            "messageExpression": "'not ' + object.metadata.name + ', ' + string(variables.length)",
        },
        {"expression": "object.metadata.name != 'c'", "message": " see the handbook "},
        variables=[{"name": "length", "expression": "object.metadata.name.size()"}],
    )
    assert refusal(server, config_map("a")) == "failed expression: object.metadata.name != 'a'"
    assert refusal(server, config_map("b")) == "not b, 1"
    assert refusal(server, config_map("c")) == "see the handbook"


def test_message_expression_that_fails_falls_back(server: Server) -> None:
    in_force(
        server,
        {"expression": "false", "messageExpression": "string(object.gone)", "message": "plan B"},
    )
    assert refusal(server, config_map()) == "plan B"


def test_errors_deny_unless_they_are_ignored(server: Server) -> None:
    rule = {"expression": "object.gone == 1"}
    in_force(server, rule)
    assert (
        refusal(server, config_map()) == "expression 'object.gone == 1' resulted in error: no such key: gone"
    )
    stored = server.call("GET", f"{POLICIES}/p")[1]
    stored["spec"]["failurePolicy"] = "Ignore"
    assert server.call("PUT", f"{POLICIES}/p", stored)[0] == 200
    assert refusal(server, config_map()) == ""


def test_variables_are_evaluated_when_they_are_needed(server: Server) -> None:
    in_force(
        server,
        {"expression": "object.metadata.name == 'free' || variables.twice > 2"},
        variables=[
            {"name": "once", "expression": "int(object.data.n)"},
            {"name": "twice", "expression": "variables.once * 2"},
        ],
    )
    assert refusal(server, config_map("free")) == ""
    assert refusal(server, config_map("two", n="2")) == ""
    assert refusal(server, config_map("one", n="1")).startswith("failed expression: ")
    assert refusal(server, config_map("none")) == (
        "expression 'object.metadata.name == 'free' || variables.twice > 2' resulted in error: "
        'composited variable "twice" fails to evaluate: '
        'composited variable "once" fails to evaluate: no such key: data'
    )


def test_old_object_and_delete(server: Server) -> None:
    server.create(CONFIG_MAPS, config_map(a="1"))
    in_force(
        server,
        {"expression": "request.operation != 'DELETE'", "message": "stays"},
        {"expression": "oldObject == null || oldObject.data == object.data", "message": "as it was"},
        matchConditions=[{"name": "named-x", "expression": "request.name == 'x'"}],
    )
    code, answer = server.call("DELETE", f"{CONFIG_MAPS}/x")
    assert (code, answer["message"].partition("denied request: ")[2]) == (422, "stays")
    code, answer = server.call("PATCH", f"{CONFIG_MAPS}/x", {"data": {"a": "2"}})
    assert (code, answer["message"].partition("denied request: ")[2]) == (422, "as it was")
    server.create(CONFIG_MAPS, config_map("y"))
    assert server.call("DELETE", f"{CONFIG_MAPS}/y")[0] == 200


def test_fields_of_what_is_not_there(server: Server) -> None:
    in_force(server, {"expression": "oldObject.data == object.data"})
    assert refusal(server, config_map()) == (
        "expression 'oldObject.data == object.data' resulted in error: no such key: data"
    )


def test_match_conditions(server: Server) -> None:
    conditions = [
        {"name": "wrong", "expression": "object.gone == 1"},
        {"name": "named", "expression": "object.metadata.name != 'free'"},
    ]
    in_force(server, {"expression": "false"}, matchConditions=conditions)
    assert refusal(server, config_map("free")) == ""
    assert (
        refusal(server, config_map()) == "expression 'object.gone == 1' resulted in error: no such key: gone"
    )


def test_constraints(server: Server) -> None:
    constraints = {
        "resourceRules": [{**CONFIG_MAP_WRITES["resourceRules"][0], "operations": ["CREATE"]}],
        "excludeResourceRules": [{**CONFIG_MAP_WRITES["resourceRules"][0], "resourceNames": ["spared"]}],
        "objectSelector": {"matchExpressions": [{"key": "free", "operator": "DoesNotExist"}]},
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": NAMESPACE}},
    }
    in_force(server, {"expression": "false"}, matchConstraints=constraints)
    assert refusal(server, config_map()) == "failed expression: false"
    assert refusal(server, config_map("spared")) == ""
    free = config_map("free")
    free["metadata"]["labels"] = {"free": "yes"}
    assert refusal(server, free) == ""
    assert refusal(server, config_map(), "/api/v1/namespaces/default/configmaps") == ""
    assert server.call("PATCH", f"{CONFIG_MAPS}/spared", {"data": {"a": "2"}})[0] == 200
    assert refusal(server, {"metadata": {"name": "s"}}, f"/api/v1/namespaces/{NAMESPACE}/secrets") == ""


def test_binding_narrows_and_policies_without_one_do_nothing(server: Server) -> None:
    server.create(POLICIES, policy({"expression": "false"}))
    assert refusal(server, config_map("before")) == ""
    resources = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "default"}}}
    server.create(BINDINGS, binding(matchResources=resources))
    assert refusal(server, config_map()) == ""
    assert (
        refusal(server, config_map(), "/api/v1/namespaces/default/configmaps") == "failed expression: false"
    )
    server.call("DELETE", f"{BINDINGS}/b")
    assert refusal(server, config_map(), "/api/v1/namespaces/default/configmaps") == ""


def test_warnings(server: Server) -> None:
    in_force(
        server, {"expression": "false", "message": "better not"}, binding_spec={"actions": ("Warn", "Audit")}
    )
    server.create(CONFIG_MAPS, config_map())
    assert server.warnings == [
        "Validation failed for ValidatingAdmissionPolicy 'p' with binding 'b': better not"
    ]


def test_params(server: Server) -> None:
    kind = {"apiVersion": "v1", "kind": "ConfigMap"}
    reference = {"name": "limits", "parameterNotFoundAction": "Deny"}
    server.create(
        POLICIES,
        policy(
            {
                "expression": "object.metadata.name == 'limits' || object.data.size() <= int(params.data.keys)",
                "messageExpression": "'at most ' + params.data.keys + ' keys'",
            },
            paramKind=kind,
        ),
    )
    server.create(BINDINGS, binding(paramRef=reference))
    assert refusal(server, config_map(a="1")) == (
        "failed to configure binding: no params found for policy binding with `Deny` parameterNotFoundAction"
    )
    server.call("DELETE", f"{BINDINGS}/b")
    server.create(CONFIG_MAPS, config_map("limits", keys="1"))
    server.create(BINDINGS, binding(paramRef=reference))
    assert refusal(server, config_map(a="1")) == ""
    assert refusal(server, config_map("y", a="1", b="2")) == "at most 1 keys"


def test_params_by_label_are_evaluated_one_by_one(server: Server) -> None:
    for name, words in (("l1", "one"), ("l2", "two")):
        obj = config_map(name, bad=words)
        obj["metadata"]["labels"] = {"limit": "yes"}
        server.create("/api/v1/namespaces/default/configmaps", obj)
    rule = {
        "expression": "!has(object.data) || !(params.data.bad in object.data)",
        "messageExpression": "'no ' + params.data.bad",
    }
    reference = {
        "namespace": "default",
        "selector": {"matchLabels": {"limit": "yes"}},
        "parameterNotFoundAction": "Allow",
    }
    in_force(
        server,
        rule,
        paramKind={"apiVersion": "v1", "kind": "ConfigMap"},
        binding_spec={"paramRef": reference},
    )
    assert refusal(server, config_map(two="")) == "no two"
    assert refusal(server, config_map(three="")) == ""


def test_param_kind_that_nobody_serves(server: Server) -> None:
    in_force(server, {"expression": "true"}, paramKind={"apiVersion": "x.io/v1", "kind": "Limit"})
    code, answer = server.call("POST", CONFIG_MAPS, config_map())
    assert (code, answer["message"]) == (
        422,
        "configmaps \"x\" is forbidden: ValidatingAdmissionPolicy 'p' denied request: failed to configure policy: "
        "failed to find resource referenced by paramKind: 'x.io/v1, Kind=Limit'",
    )


def test_namespace_object_and_request(server: Server) -> None:
    in_force(
        server,
        {"expression": f"namespaceObject.metadata.name == '{NAMESPACE}'"},
        {"expression": "namespaceObject.status.phase == 'Active'"},
        {"expression": "request.kind.kind == 'ConfigMap' && request.resource.resource == 'configmaps'"},
        {
            "expression": f"request.namespace == '{NAMESPACE}' && request.userInfo.username == 'system:apiserver'"
        },
        {"expression": "'system:masters' in request.userInfo.groups && !has(request.subResource)"},
        {"expression": "object.kind == 'ConfigMap' && object.apiVersion == 'v1'"},
        {"expression": "request.dryRun == (object.metadata.name == 'dry')"},
        {"expression": "!has(request.name) || object.metadata.?generateName.orValue('') == ''"},
    )
    assert refusal(server, config_map()) == ""
    assert refusal(server, config_map("dry"), f"{CONFIG_MAPS}?dryRun=All") == ""
    assert refusal(server, {"metadata": {"generateName": "many-"}}) == ""


def test_cluster_scoped_objects_have_no_namespace_object(server: Server) -> None:
    rule = {
        "apiGroups": [""],
        "apiVersions": ["*"],
        "operations": ["CREATE"],
        "resources": ["namespaces"],
        "scope": "Cluster",
    }
    in_force(
        server,
        {"expression": "namespaceObject == null && request.namespace == object.metadata.name"},
        {"expression": "object.metadata.name.startsWith('team-')", "message": "call it team-…"},
        matchConstraints={"resourceRules": [rule]},
    )
    assert refusal(server, {"metadata": {"name": "team-a"}}, "/api/v1/namespaces") == ""
    assert refusal(server, {"metadata": {"name": "other"}}, "/api/v1/namespaces") == "call it team-…"


def test_authorizer_asks_about_the_user(server: Server) -> None:
    rules = [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["create"]}]
    roles = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{NAMESPACE}"
    server.create(f"{roles}/roles", {"metadata": {"name": "maker"}, "rules": rules})
    subjects = [{"kind": "User", "name": "ann", "apiGroup": "rbac.authorization.k8s.io"}]
    reference = {"kind": "Role", "name": "maker", "apiGroup": "rbac.authorization.k8s.io"}
    body = {"metadata": {"name": "maker"}, "subjects": subjects, "roleRef": reference}
    server.create(f"{roles}/rolebindings", body)
    in_force(
        server,
        {"expression": "authorizer.requestResource.check('create').allowed()"},
        {
            "expression": "object.metadata.name != 'secret' || "
            f"authorizer.group('').resource('secrets').namespace('{NAMESPACE}').check('get').allowed()",
            "message": "only for readers of secrets",
        },
    )

    def create(name: str, user: User) -> str:
        request = Request(
            "POST",
            CONFIG_MAPS,
            headers={"content-type": "application/json"},
            body={"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}},
            user=user,
        )
        try:
            assert isinstance(server.dispatcher.handle(request), ObjectResult)
        except ApiError as error:
            return error.message.partition("denied request: ")[2]
        return ""

    ann = User("ann", groups=("system:authenticated",))
    assert create("plain", ann) == ""
    assert create("secret", ann) == "only for readers of secrets"
    assert create("secret", User("root", groups=("system:masters",))) == ""


def test_subresources_and_connections(server: Server) -> None:
    pods = f"/api/v1/namespaces/{NAMESPACE}/pods"
    account = f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts"
    server.create(account, {"metadata": {"name": "default"}})
    server.create(pods, {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}})
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["*"], "resources": ["pods/*"]}
    in_force(
        server,
        {
            "expression": "request.operation != 'CONNECT' || !('sh' in object.command)",
            "message": "no shells",
        },
        {
            "expression": "request.subResource != 'binding' || object.target.name != 'closed'",
            "message": "closed",
        },
        {"expression": "request.subResource != 'eviction' || object.kind != 'Eviction'", "message": "stays"},
        matchConstraints={"resourceRules": [rule]},
    )
    code, answer = server.call("POST", f"{pods}/p/exec?command=sh&container=c&stdout=1")
    assert (code, answer["message"].partition("denied request: ")[2]) == (422, "no shells")
    target = {"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "closed"}}
    code, answer = server.call("POST", f"{pods}/p/binding", {"apiVersion": "v1", "kind": "Binding", **target})
    assert (code, answer["message"].partition("denied request: ")[2]) == (422, "closed")
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p"}}
    code, answer = server.call("POST", f"{pods}/p/eviction", eviction)
    assert (code, answer["message"].partition("denied request: ")[2]) == (422, "stays")


def test_policies_do_not_judge_policies(server: Server) -> None:
    rule = {"apiGroups": ["*"], "apiVersions": ["*"], "operations": ["*"], "resources": ["*/*"]}
    in_force(server, {"expression": "false"}, matchConstraints={"resourceRules": [rule]})
    assert refusal(server, config_map()) == "failed expression: false"
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"nonResourceAttributes": {"path": "/", "verb": "get"}},
    }
    assert server.call("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", review)[0] == 201
    assert server.call("DELETE", f"{BINDINGS}/b")[0] == 200
    assert refusal(server, config_map()) == ""


def test_a_change_of_the_policy_takes_effect_at_once(server: Server) -> None:
    in_force(server, {"expression": "false"})
    assert refusal(server, config_map()) == "failed expression: false"
    stored = server.call("GET", f"{POLICIES}/p")[1]
    stored["spec"]["validations"] = [{"expression": "true"}]
    code, changed = server.call("PUT", f"{POLICIES}/p", stored)
    assert (code, changed["metadata"]["generation"]) == (200, 2)
    assert refusal(server, config_map()) == ""


def test_audit_annotations_refuse_only_by_failing(server: Server) -> None:
    annotations = [{"key": "owner", "valueExpression": "object.data.owner"}]
    assert server.refusals("POST", POLICIES, policy(auditAnnotations=annotations)) == [
        'spec.auditAnnotations[0].valueExpression: Invalid value: "object.data.owner": '
        "must evaluate to one of [string null_type] but got dyn"
    ]
    annotations[0]["valueExpression"] = "string(object.data.owner)"
    in_force(server, auditAnnotations=annotations, binding_spec={"actions": ("Audit",)})
    assert refusal(server, config_map(owner="me")) == ""
    assert refusal(server, config_map("y", other="me")) == (
        "expression 'string(object.data.owner)' resulted in error: no such key: owner"
    )
