"""Time-of-day plans: patterns for a NEMA controller, derived from a policy; as NTCIP objects, SUMO programs, UTDF."""
