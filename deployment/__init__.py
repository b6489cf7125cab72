"""From a trained policy to a traffic-signal controller: bundle, guard, runtime, NTCIP driver, plans, emulator."""
