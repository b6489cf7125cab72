"""From a map to a scenario: OpenStreetMap's roads become a network with signals, and demand is made up."""
