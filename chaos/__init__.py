"""Real faults, and a checker that finds what they cost: `python -m chaos`, on the running fleet, in either mode."""
