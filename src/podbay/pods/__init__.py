"""Building pods: from plain parameters to a manifest. Pure functions; no cluster, no clock, no chance, no files.

The operator, the command line, the trigger and the healer all come here, so that each builds the same pod from the same
words. The parts: `request` (what is asked for), `identity` (whose pod it is), `build` (the whole), `template`, `merge`,
`env`, `volumes`, `resources`, `secrets`, `sidecar` and `result` (the task's result), `validate`, `render`.
"""
