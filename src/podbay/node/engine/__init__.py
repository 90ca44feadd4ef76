"""The runtime on a container engine: whatever serves the Docker Engine API (Docker, Podman, Docker Desktop).

runtime.py is what others use. Nothing here depends on sharing a machine with the engine: no bind mount of our own
files, no pod address, no process id. What must happen on the engine's side is done by the program in keeper/, in an
image made here, because no registry may be in reach.
"""
