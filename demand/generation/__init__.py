"""Days that never were but might have been: a model of whole days of counts, and how well they pass for real ones."""
