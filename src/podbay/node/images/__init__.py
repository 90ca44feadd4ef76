"""Images without an engine: names, registries, archives, unpacked layers and the store that holds them.

store.py is what others use; a runtime that has no image service of its own builds on it.
"""
