"""The Common Expression Language as Kubernetes 1.36 extends it, for admission policies.

environment.py compiles and runs expressions with the CEL project's own runtime; library/ holds the functions that
Kubernetes adds. The runtime is imported when the first expression is compiled, so a cluster without policies does
not pay for it.
"""
