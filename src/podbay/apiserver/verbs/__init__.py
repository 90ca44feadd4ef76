"""The verbs of the API, the same for every kind. Each takes the Core, what was asked, and gives a result.

Source of the order of steps: k8s.io/apiserver/pkg/endpoints/handlers and pkg/registry/generic/registry/store.go.
"""
