"""Simulated intersections as Gymnasium and PettingZoo environments; the only importer of SUMO."""
