"""The results of all runs of an evaluation: statistics, summary, tables per signal, files, terminal."""
