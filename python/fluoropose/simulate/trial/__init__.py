"""Simulated trials: bodies that move before a rig, frames as a laboratory leaves them, and the truth."""
