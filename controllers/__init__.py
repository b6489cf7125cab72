"""Signal control without learning: from a snapshot to a phase for every signal."""
