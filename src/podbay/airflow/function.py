"""`@task.pod`: a Python function as the command of a pod. Pure.

Source and arguments travel in the container's arguments, compressed: no shell, no environment variables, no object beside
the pod. The image needs `python3` (3.8 or newer) and nothing of Airflow or Podbay. What the pod could not know, such as a
module that the DAG file imports outside of the function, is refused at parse and not found out in the pod.
"""

from __future__ import annotations

import ast
import base64
import builtins
import dis
import inspect
import math
import pickle
import re
import textwrap
import types
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any, Final

import orjson

from podbay.errors import InvalidInputError

__all__ = ["MAX_BYTES", "Function", "check_callable", "pod_command"]

MAX_BYTES: Final = 900_000
"""Of source and arguments, compressed and encoded: a pod of 1.5 MiB is the most that a cluster stores."""
_CHUNK: Final = 100_000
"""Linux takes arguments of up to 128 KiB each."""
_MARK: Final = "$podbay"

Function = Mapping[str, str]
"""What is carried of it: name and source."""

# The pod's side. Python 3.8 and newer, the standard library only. Values with a mark are what JSON has no word for.
_BOOTSTRAP: Final = """\
import sys
if sys.version_info < (3, 8):
    sys.exit("podbay: @task.pod needs Python 3.8 or newer, the image has " + sys.version.split()[0])
import base64, datetime, json, pickle, zlib
def revive(value):
    if isinstance(value, list):
        return [revive(each) for each in value]
    if not isinstance(value, dict):
        return value
    kind = value.get("$podbay")
    if kind is None:
        return {key: revive(each) for key, each in value.items()}
    value = value["value"]
    if kind == "mapping":
        return {revive(key): revive(each) for key, each in value}
    if kind == "float":
        return float(value)
    if kind == "tuple":
        return tuple(revive(each) for each in value)
    if kind == "set":
        return set(revive(each) for each in value)
    if kind == "bytes":
        return base64.b64decode(value)
    if kind == "datetime":
        return datetime.datetime.fromisoformat(value)
    if kind == "date":
        return datetime.date.fromisoformat(value)
    if kind == "timedelta":
        return datetime.timedelta(seconds=value)
    try:
        return pickle.loads(base64.b64decode(value))
    except Exception as error:
        sys.exit("podbay: an argument of type %s cannot be read in this image: %s: %s"
                 % (kind, type(error).__name__, error))
call = json.loads(zlib.decompress(base64.b64decode("".join(sys.argv[1:]))))
sys.argv[1:] = []
names = {"__name__": "__main__"}
import linecache, traceback
sys.excepthook = lambda *error: traceback.print_exception(*error)
lines = call["source"].splitlines(True)
linecache.cache["<" + call["name"] + ">"] = (len(call["source"]), None, lines, "<" + call["name"] + ">")
exec(compile(call["source"], "<" + call["name"] + ">", "exec"), names)
result = names[call["name"]](*[revive(each) for each in call["args"]], **revive(call["kwargs"]))
if call["result"]:
    try:
        text = json.dumps(result)
    except (TypeError, ValueError) as error:
        sys.exit("podbay: the result of %s is not JSON: %s" % (call["name"], error))
    with open(call["result"], "w") as file:
        file.write(text)
"""


def check_callable(function: Callable[..., Any]) -> Function:
    """What is carried of a function. Raises InvalidInputError for what cannot run in a pod."""
    name = getattr(function, "__name__", type(function).__name__)
    subject = f"@task.pod {name}"
    code = getattr(function, "__code__", None)
    if code is None or name == "<lambda>":
        raise InvalidInputError(f"{subject}: must be a function written with def")
    text = "from __future__ import annotations\n" + _source(function, subject)
    try:
        alone = compile(text, f"<{name}>", "exec")
    except SyntaxError as error:
        raise InvalidInputError(
            f"{subject}: its source cannot be used alone (line {error.lineno}: {error.msg})"
        ) from None
    if code.co_freevars:
        raise InvalidInputError(
            f"{subject}: uses {', '.join(code.co_freevars)} of the function around it, which the pod does not have; "
            "pass it as an argument"
        )
    missing = sorted(_taken(alone) - set(dir(builtins)) - {name})
    if missing:
        raise InvalidInputError(
            f"{subject}: uses {', '.join(missing)} of the DAG file, which the pod does not have; import it inside of "
            "the function, or pass it as an argument"
        )
    return {"name": name, "source": text}


def _source(function: Callable[..., Any], subject: str) -> str:
    """From `def` on: without the decorators, which belong to Airflow."""
    try:
        text = textwrap.dedent(inspect.getsource(function))
        parsed = ast.parse(text).body[0]
    except (OSError, TypeError, SyntaxError, IndexError) as error:
        raise InvalidInputError(f"{subject}: its source cannot be read: {error}") from None
    if not isinstance(parsed, ast.FunctionDef):
        raise InvalidInputError(f"{subject}: must be a function written with def, and not async")
    for decorator in parsed.decorator_list:
        word = ast.unparse(decorator)
        if not re.match(r"(\w+\.)*(task|setup|teardown)\b", word):
            raise InvalidInputError(f"{subject}: the pod does not have its decorator @{word}")
    return "".join(text.splitlines(True)[parsed.lineno - 1 :])


def _taken(alone: types.CodeType) -> set[str]:
    """Names that the source takes from outside: in the function, in classes in it, and in the defaults of its arguments."""
    found, made = set(), set()
    for code in _codes(alone):
        own = set()
        for each in dis.get_instructions(code):
            match each.opname:
                case "STORE_GLOBAL":
                    made.add(each.argval)
                case "LOAD_GLOBAL":
                    found.add(each.argval)
                case "STORE_NAME":
                    own.add(each.argval)
                case "SETUP_ANNOTATIONS":
                    own.add("__annotations__")
                case "LOAD_NAME" if each.argval not in own:
                    found.add(each.argval)
    return found - made


def _codes(code: types.CodeType) -> Iterator[types.CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _codes(constant)


def pod_command(
    function: Function, args: Sequence[Any], kwargs: Mapping[str, Any], *, result: str
) -> tuple[list[str], list[str]]:
    """Command and arguments of the container. `result` is the file for the result; empty for none.

    Raises InvalidInputError when it is too large for a pod.
    """
    call = {
        "name": function["name"],
        "source": function["source"],
        "args": [_encode(each) for each in args],
        "kwargs": _encode(dict(kwargs)),
        "result": result,
    }
    text = base64.b64encode(zlib.compress(orjson.dumps(call), 6)).decode()
    if len(text) > MAX_BYTES:
        raise InvalidInputError(
            f"@task.pod {function['name']}: source and arguments take {len(text)} bytes, compressed; a pod can hold "
            f"{MAX_BYTES}. Put large data where both sides can read it and pass its place"
        )
    chunks = [text[start : start + _CHUNK] for start in range(0, len(text), _CHUNK)]
    # Unbuffered: a line is in the log when it is printed, and not lost when the pod is killed.
    return ["python3", "-u", "-c", _BOOTSTRAP], chunks


def _encode(value: Any) -> Any:
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, int | float):
        return _number(value)
    if isinstance(value, list):
        return [_encode(each) for each in value]
    if isinstance(value, dict):
        if all(type(key) is str for key in value) and _MARK not in value:
            return {key: _encode(each) for key, each in value.items()}
        if all(isinstance(key, str | int | float | bool | None) for key in value):
            return _marked("mapping", [[_encode(key), _encode(each)] for key, each in value.items()])
    if type(value) is tuple:
        return _marked("tuple", [_encode(each) for each in value])
    if isinstance(value, set | frozenset):
        return _marked("set", [_encode(each) for each in value])
    if isinstance(value, Sequence) and type(value).__module__.startswith("airflow."):
        # The results of a mapped task, which Airflow reads one by one.
        return [_encode(each) for each in value]
    return _scalar(value)


def _number(value: float) -> Any:
    """One of a class of its own, such as an IntEnum's, is the plain number: the image need not have the class."""
    if isinstance(value, int):
        whole = int(value)
        return whole if abs(whole) < 1 << 53 else _scalar(whole)
    number = float(value)
    return number if math.isfinite(number) else _marked("float", repr(number))


def _scalar(value: Any) -> dict[str, Any]:
    if isinstance(value, bytes):
        return _marked("bytes", base64.b64encode(value).decode())
    if isinstance(value, datetime):
        # Also pendulum's, whose own class the image may not have.
        return _marked("datetime", value.isoformat())
    if isinstance(value, date):
        return _marked("date", value.isoformat())
    if isinstance(value, timedelta):
        return _marked("timedelta", value.total_seconds())
    kind = f"{type(value).__module__}.{type(value).__qualname__}"
    try:
        return _marked(kind, base64.b64encode(pickle.dumps(value, protocol=4)).decode())
    except Exception as error:  # noqa: BLE001 - whatever its own pickling raises
        raise InvalidInputError(f"an argument of type {kind} cannot be sent to a pod: {error}") from None


def _marked(kind: str, value: Any) -> dict[str, Any]:
    return {_MARK: kind, "value": value}
