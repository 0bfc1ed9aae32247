"""Frames that arrive, pairs made of them, poses that leave."""
