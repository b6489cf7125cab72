"""Agents that learn signal timing: DQN and PPO, with a network that fits any intersection."""
