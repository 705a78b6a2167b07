"""Faults for real, and a checker that says what they cost: `python -m chaos`, on the fleet that runs, in either mode."""
