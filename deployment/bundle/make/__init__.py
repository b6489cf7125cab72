"""What makes a bundle: the policy's forms, card, timing sheet and seal. Nothing beside a controller imports it."""
