"""Why a pod does not start, go on or end well: cause, evidence, fix and whose fault it is. Pure.

`model` holds what is asked and answered, `diagnose` looks through the causes, one file for each family of them.
"""
