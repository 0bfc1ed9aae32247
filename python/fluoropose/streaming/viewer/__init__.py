"""What the tracker sees and says, on a screen or in a recording, drawn by a process of its own."""
