"""Studies: what is asked for becomes cells, cells become jobs, and jobs become a table."""
