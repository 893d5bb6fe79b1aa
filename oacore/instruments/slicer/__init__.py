"""Slices of knees and maps to drag through, in a page and in JupyterLab (chapter 14)."""
