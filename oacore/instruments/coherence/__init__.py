"""Grades that belong together: how they are joined, and losses that ask for it."""
