"""How the user's own files are read, by what their labels are: one file a label form."""
