"""What all runs of an evaluation came to: statistics, summary, tables, files and the text in a terminal."""
