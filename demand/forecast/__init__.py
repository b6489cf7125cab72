"""Flow and occupancy 5 to 60 minutes ahead, with their uncertainty: methods, their judgement, and what runs them."""
