"""What every package and command stands on: whole files, locks, caches, plain values, errors, starting Python."""
