"""How faults are declared from outside: a few paths under /podbay.dev/v1/faults, for administrators.

GET    /podbay.dev/v1/faults         {"items": [...]}
POST   /podbay.dev/v1/faults         a fault; answers with it and its id
DELETE /podbay.dev/v1/faults         lift all
DELETE /podbay.dev/v1/faults/ID      lift one
"""

from __future__ import annotations

import orjson

from podbay.apiserver import status
from podbay.apiserver.faults.gate import EXTENSIONS, FaultGate
from podbay.apiserver.request import Request
from podbay.apiserver.result import PlainResult
from podbay.errors import InvalidInputError

__all__ = ["EXPIRE_TOKENS_PATH", "FAULTS_PATH", "FaultApi"]

FAULTS_PATH = f"{EXTENSIONS}v1/faults"
EXPIRE_TOKENS_PATH = f"{FAULTS_PATH}/expire-tokens"


class FaultApi:
    """Serves the paths above; None for any other path."""

    def __init__(self, gate: FaultGate) -> None:
        self._gate = gate

    def __call__(self, request: Request) -> PlainResult | None:
        path = request.path.rstrip("/")
        if path == FAULTS_PATH:
            return self._collection(request)
        id_ = path.removeprefix(FAULTS_PATH + "/")
        if id_ == path or "/" in id_ or request.method != "DELETE":
            return None
        if not self._gate.remove(id_):
            raise status.bad_request(f"fault {id_} does not exist; it may have hit its last request")
        return _answer({"lifted": id_})

    def _collection(self, request: Request) -> PlainResult | None:
        if request.method == "GET":
            return _answer({"items": [fault.describe() for fault in self._gate.standing()]})
        if request.method == "DELETE":
            self._gate.clear()
            return _answer({"lifted": "all"})
        if request.method != "POST":
            return None
        try:
            data = orjson.loads(request.body) if isinstance(request.body, bytes) else request.body
            return _answer(self._gate.add(data).describe(), code=201)
        except orjson.JSONDecodeError as err:
            raise status.bad_request(f"the fault is not JSON: {err}") from err
        except InvalidInputError as err:
            raise status.bad_request(str(err)) from err


def _answer(document: object, *, code: int = 200) -> PlainResult:
    return PlainResult(orjson.dumps(document) + b"\n", content_type="application/json", status=code)
