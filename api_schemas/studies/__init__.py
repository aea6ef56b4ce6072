"""Studies: many jobs asked for at once as lists, and the table that they make."""
