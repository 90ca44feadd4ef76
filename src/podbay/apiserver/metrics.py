"""Counters of the API server in Prometheus text form, under the names kube-apiserver uses where it has one."""

from __future__ import annotations

from collections import Counter

__all__ = ["Metrics"]


class Metrics:
    """Counts requests by method and status; everything else is read when asked."""

    def __init__(self) -> None:
        self._requests: Counter[tuple[str, int]] = Counter()

    def count_request(self, method: str, code: int) -> None:
        self._requests[(method, code)] += 1

    def render(self, *, objects: dict[str, int], watchers: int, version: int) -> bytes:
        """The body of /metrics. objects counts stored objects by resource."""
        lines = [
            "# HELP apiserver_request_total Requests answered, by verb and HTTP status code.",
            "# TYPE apiserver_request_total counter",
        ]
        for (method, code), count in sorted(self._requests.items()):
            lines.append(f'apiserver_request_total{{verb="{method}",code="{code}"}} {count}')
        lines += [
            "# HELP apiserver_storage_objects Stored objects by resource.",
            "# TYPE apiserver_storage_objects gauge",
        ]
        for resource, count in sorted(objects.items()):
            lines.append(f'apiserver_storage_objects{{resource="{resource}"}} {count}')
        lines += [
            "# HELP apiserver_longrunning_requests Open watches.",
            "# TYPE apiserver_longrunning_requests gauge",
            f'apiserver_longrunning_requests{{verb="WATCH"}} {watchers}',
            "# HELP podbay_resource_version The newest resource version.",
            "# TYPE podbay_resource_version counter",
            f"podbay_resource_version {version}",
        ]
        return ("\n".join(lines) + "\n").encode()
