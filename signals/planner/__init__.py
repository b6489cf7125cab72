"""The planner: what the best plan of each signal costs for every phase that may come first."""
