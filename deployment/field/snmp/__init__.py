"""A controller over SNMP: what reads, what commands, what downloads plans."""
