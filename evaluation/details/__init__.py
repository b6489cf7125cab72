"""What a run tells beside its trips: queues, signal states, passages, events, trajectories; from SUMO's outputs."""
