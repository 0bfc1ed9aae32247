"""Training with Lightning: progress, checkpoints, resume, early stop, CSV log, one or many devices."""
