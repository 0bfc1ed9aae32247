"""Distortion and source alignment from images of beads."""
