"""From a map to a scenario: an extract of OpenStreetMap becomes a network with signals, and demand that is made up."""
