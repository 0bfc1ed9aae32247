"""Where poses go."""

from fluoropose.streaming.sinks.sink import Callback, Sink

__all__ = ["Callback", "Sink"]
