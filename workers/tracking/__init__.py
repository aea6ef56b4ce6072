"""Jobs as runs of MLflow and Weights & Biases. Imports no torch, and their clients only where they are used."""
