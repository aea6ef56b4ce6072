"""Studies as the gateway has them."""
