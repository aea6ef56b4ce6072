"""The `layercut` console script: a door that may call both sides; nobody imports it."""
