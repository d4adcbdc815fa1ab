"""Statistics of a table before any model: associations, interactions, bins and single columns."""
