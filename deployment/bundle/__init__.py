"""One signal's policy or plans as a sealed folder that a controller's computer can check."""
