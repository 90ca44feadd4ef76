"""Streams between clients and nodes: pods/log, exec, attach and portforward on the wire."""

from podbay.apiserver.wire.serve import serve_stream

__all__ = ["serve_stream"]
