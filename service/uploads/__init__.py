"""What users send: received, checked and put together."""
