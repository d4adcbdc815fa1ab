"""How often monitoring is wrong: false alarms of every kind, and intervals that miss."""
