"""What it costs a DAG processor to read one DAG file: run in a process of its own, prints one line of JSON.

    python file_cost.py FILE

Airflow itself is imported before the clock starts, as a DAG processor has it.
"""

from __future__ import annotations

import gc
import json
import runpy
import sys
import time
from pathlib import Path


def rss() -> float:
    """MiB of this process now."""
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(fields["VmRSS"].split()[0]) / 1024


import airflow.dag_processing.processor  # noqa: E402
import airflow.sdk  # noqa: E402, F401

gc.collect()
modules, memory = len(sys.modules), rss()
cpu, wall = time.process_time(), time.perf_counter()
runpy.run_path(sys.argv[1])
facts = {
    "seconds": time.perf_counter() - wall,
    "cpu": time.process_time() - cpu,
    "mib": rss() - memory,
    "modules": len(sys.modules) - modules,
}
began = time.perf_counter()
runpy.run_path(sys.argv[1])
facts["again"] = time.perf_counter() - began
print(json.dumps(facts))
