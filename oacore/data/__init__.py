"""Knees on disk as a tidy table, checked; as volumes that networks see; files of others."""
