"""Models and data in object stores: which addresses are allowed, what lies there, and what kept it from being read."""
