"""Simulated bones, calibration images and trials."""
