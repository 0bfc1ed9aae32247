"""From predicted landmarks to poses, frame by frame."""
