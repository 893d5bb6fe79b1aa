"""Knee radiographs: pictures, landmarks and grades, real and drawn."""
