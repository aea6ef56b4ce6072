"""Fine-tuning and distillation: one loop, and the objective says which."""
