"""What users send: which files are taken, and what is in them."""
