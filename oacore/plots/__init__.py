"""Figures and page elements that several chapters share, all in one look."""
