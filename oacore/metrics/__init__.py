"""Predictions, what they score, and how sure that is."""
