"""From counts to a scenario: detectors matched to a network, routes sampled, and the result measured again."""
