"""The whole way on simulated data: a laboratory, its calibration, registration, evaluation and report."""

from fluoropose.demo.run import run_demo

__all__ = ["run_demo"]
