"""The DAGs of examples/eks, with nothing changed but how long they wait and when they start by themselves.

airflow reads only files with these two words in them.
"""

from __future__ import annotations

from pathlib import Path

EXAMPLES = Path(__file__).parents[3] / "examples" / "eks"
CHANGES = {
    'schedule="@daily"': "schedule=None",
    "poke_interval=30": "poke_interval=1",
    "gpus=1,": "gpus=1, poll_seconds=0.5,",
}

for _name in ("gpu_nodes", "gpu_nodes_group"):
    _text = (EXAMPLES / f"{_name}.py").read_text()
    for _old, _new in CHANGES.items():
        _text = _text.replace(_old, _new)
    _found: dict[str, object] = {"__name__": __name__}
    exec(compile(_text, str(EXAMPLES / f"{_name}.py"), "exec"), _found)
    globals()[_name] = _found["dag"]
