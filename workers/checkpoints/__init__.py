"""Where an interrupted training goes on from: how checkpoints lie in a folder, and how one is written and read."""
