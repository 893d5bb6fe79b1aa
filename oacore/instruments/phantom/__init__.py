"""Synthetic knees with a known truth, and real knees' figures beside them (chapter 2)."""
