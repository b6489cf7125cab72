"""Learning from forks of the running simulation: multiagent rollout."""
