"""CEL as kube-apiserver 1.36 extends it: values, types, errors in its words."""

from __future__ import annotations

import subprocess
import sys

import pytest

from podbay.apiserver.cel.environment import Compiler, Outcome, Runner
from podbay.apiserver.cel.library.authorization import authorizer_value, resource_check

VALUES = {
    "object": {"name": "x", "count": 4, "none": None, "list": [1, 2], "labels": {"k": "v"}, "cpu": "1500m"},
    "oldObject": None,
    "request": {"operation": "CREATE"},
    "namespaceObject": None,
    "params": {"data": {"limit": "2"}},
    "authorizer": authorizer_value(),
    "authorizer.requestResource": resource_check({"group": "", "resource": "pods", "namespace": "ns"}),
}


def run(expression: str) -> Outcome:
    asked: list[dict[str, str]] = []

    def asker(question: dict[str, str]) -> tuple[bool, str]:
        asked.append(question)
        return question["verb"] == "get", "as the test says"

    compiled = Compiler(params=True).compile(expression)
    assert not compiled.error, compiled.error
    runner = Runner(asker)
    return runner.evaluate(runner.load(compiled), runner.bind(VALUES))


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("object.count > 3 && object.name == 'x'", True),
        ("oldObject == null", True),
        ("quantity(object.cpu).isGreaterThan(quantity(params.data.limit))", False),
        ("quantity('1') == quantity('1000m')", True),
        ("quantity('1.5').isInteger()", False),
        ("quantity('2Ki').asInteger()", 2048),
        ("quantity('1').add(quantity('500m')).asApproximateFloat()", 1.5),
        ("quantity('3').sub(1).compareTo(quantity('2'))", 0),
        ("sign(quantity('-2'))", -1),
        ("isQuantity('ten')", False),
        ("semver('1.2.3').isLessThan(semver('1.10.0'))", True),
        ("semver('1.0.0-rc.1').compareTo(semver('1.0.0'))", -1),
        ("isSemver('v1.2')", False),
        ("semver('v1.2', true).minor()", 2),
        ("url('https://u@example.com:80/a?x=1&x=2').getHost()", "example.com:80"),
        ("url('https://[::1]:8443/').getHostname()", "::1"),
        ("url('https://[::1]:8443/').getPort()", "8443"),
        ("url('/a?x=1&x=2').getQuery()['x']", ["1", "2"]),
        ("isURL('no url')", False),
        ("ip('::1').isLoopback() && ip('10.0.0.1').family() == 4", True),
        ("ip.isCanonical('::0001')", False),
        ("cidr('10.0.0.0/8').containsIP('10.1.2.3')", True),
        ("cidr('10.0.0.0/8').containsCIDR(cidr('10.1.0.0/16'))", True),
        ("cidr('10.1.2.3/8').masked() == cidr('10.0.0.0/8')", True),
        ("isCIDR('10.0.0.0')", False),
        ("'abc 123'.find('[0-9]+')", "123"),
        ("'a1b2'.findAll('[0-9]', 1)", ["1"]),
        ("[1, 3, 2].isSorted()", False),
        ("object.list.sum()", 3),
        ("['b', 'a'].min()", "a"),
        ("object.?missing.orValue('default')", "default"),
        ("object.?labels.k.hasValue()", True),
        ("sets.contains([1, 2], [2])", True),
        ("object.labels.all(key, value, key != value)", True),
        ("'a,b'.split(',').map(x, x.upperAscii())", ["A", "B"]),
        ("[3, 1].sort()", [1, 3]),
        ("authorizer.group('').resource('pods').namespace('ns').check('get').allowed()", True),
        ("authorizer.requestResource.check('delete').allowed()", False),
        ("authorizer.serviceAccount('ns', 'sa').path('/metrics').check('get').reason()", "as the test says"),
    ],
)
def test_values(expression: str, value: object) -> None:
    assert run(expression).value == value


@pytest.mark.parametrize(
    ("expression", "error"),
    [
        ("object.missing", "no such key: missing"),
        ("object.list[5]", "index out of bounds: 5"),
        ("object.count / 0", "division by zero"),
        ("object.name + 1", "no such overload"),
        ("oldObject.metadata", "no such key"),
        ("quantity('0.5').asInteger()", "cannot convert value to integer"),
        ("[1].min() > 0 && [].max() > 0", "max called on empty list"),
    ],
)
def test_errors_while_running(expression: str, error: str) -> None:
    assert run(expression).error == error


@pytest.mark.parametrize(
    ("expression", "error"),
    [
        ("1", "must evaluate to bool but got int"),
        ("object.count", "must evaluate to bool but got dyn"),
        ("[quantity('1')]", "must evaluate to bool but got list(kubernetes.Quantity)"),
        (
            "foo.bar == 1",
            "compilation failed: ERROR: <input>:1:1: undeclared reference to 'foo' (in container '')\n"
            " | foo.bar == 1\n | ^",
        ),
        (
            "quantity('1') == 1",
            "compilation failed: ERROR: <input>:1:15: found no matching overload for '_==_' applied to "
            "'(kubernetes.Quantity, int)'\n | quantity('1') == 1\n | ..............^",
        ),
    ],
)
def test_errors_of_the_checker(expression: str, error: str) -> None:
    assert Compiler(params=False).compile(expression, "bool").error == error


def test_variables_have_the_types_of_their_expressions() -> None:
    compiler = Compiler(params=False)
    assert not compiler.declare("count", "object.spec.size() + 1").error
    assert not compiler.compile("variables.count > 1", "bool").error
    assert "'_==_' applied to '(int, string)'" in compiler.compile("variables.count == 'a'", "bool").error
    wrong = compiler.compile("variables.other == 1", "bool").error
    assert wrong.startswith("compilation failed: ERROR: <input>:1:10: undefined field 'other'")


def test_params_and_authorizer_only_where_they_are_given() -> None:
    compiler = Compiler(params=False)
    assert "undeclared reference to 'params'" in compiler.compile("params.x").error
    expression = "authorizer.path('/').check('get').allowed()"
    assert not compiler.compile(expression).error
    assert "undeclared reference to 'authorizer'" in compiler.compile(expression, authorizer=False).error


def test_loops_end() -> None:
    runner = Runner(lambda question: (False, ""))
    compiled = Compiler(params=False).compile("object.all(x, object.all(y, x + y >= 0))")
    outcome = runner.evaluate(runner.load(compiled), runner.bind({"object": list(range(1000))}))
    assert outcome.error == "Iteration budget exceeded"


def test_nothing_is_loaded_before_the_first_expression() -> None:
    code = (
        "import sys; import podbay.apiserver.server; "
        "from podbay.apiserver.kinds import all_resource_types; all_resource_types(); "
        "print([m for m in sys.modules if m.startswith(('cel_expr', 'podbay.apiserver.cel'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
