"""Rows become tokens once, and tokens become batches that waste little on padding."""
