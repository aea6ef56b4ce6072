"""What a model learns from: gold labels, or a teacher."""
