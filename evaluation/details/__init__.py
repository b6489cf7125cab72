"""The tables of a run beside its trips, from SUMO's outputs: queues, states, passages, events, trajectories."""
