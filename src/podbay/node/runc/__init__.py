"""The daemonless runtime: runc makes containers, conmon stays with each of them, the rest is files in one directory.

runtime.py is the implementation of the protocol; the other modules each do one thing for it.
"""
