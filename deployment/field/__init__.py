"""What runs beside a controller: estimator, guard, runtime, log, admission, SNMP. It never learns or simulates."""
