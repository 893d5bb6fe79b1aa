"""Printed tables, checked by their own arithmetic (chapter 10)."""
