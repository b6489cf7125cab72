"""A signal controller to try things on: NEMA rings, SNMP, a conflict monitor, an event log, on a SUMO junction.

`python -m deployment.emulator --help` says how to run it; `deployment.emulator.process` starts one from a program.
What is tried here is emulator-verified, no more: no cabinet took part.
"""
