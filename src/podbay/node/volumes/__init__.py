"""Pod volumes: their files computed from API objects (files.py), kept by the runtime, refreshed while the pod lives."""
