"""Artificial radiographs, networks and their bundles."""
