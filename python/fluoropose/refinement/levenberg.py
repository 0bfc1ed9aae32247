"""Levenberg-Marquardt on the pose."""
from __future__ import annotations
from dataclasses import dataclass
import numpy as np
from fluoropose.geometry import Pose
from fluoropose.refinement.objective import Objective, moved

def lm(objective, start, iterations=20, damping=1e-2, tol_rad=2e-5, tol_mm=2e-3, robust=None, scale_mm=50.):
    pose = start
    if robust: objective.reweighted(pose, robust)
    step = objective.step(pose)
    value = step.value; lam = damping; n = 0; trace=[value]
    for n in range(1, iterations + 1):
        D = np.diag(step.jtj)
        while True:
            d = np.linalg.solve(step.jtj + lam * np.diag(np.maximum(D, 1e-9*D.max())), -step.jtr)
            big = max(np.linalg.norm(d[:3]) / np.radians(5), np.linalg.norm(d[3:]) / 10)
            if big > 1: d /= big
            trial = moved(pose, d)
            new = objective.step(trial)
            if np.isfinite(new.value) and new.value > value: break
            lam *= 8
            if lam > 1e4: return pose, trace, n, step
        predicted = -(step.jtr @ d + 0.5 * d @ step.jtj @ d)
        ratio = (new.value - value) / max(predicted,1e-12)
        pose = trial; lam = max(lam / 5, 1e-6) if ratio > 0.25 else lam * 2
        if robust:
            objective.reweighted(pose, robust); new = objective.step(pose)
        step, value = new, new.value; trace.append(value)
        if np.linalg.norm(d[:3]) < tol_rad and np.linalg.norm(d[3:]) < tol_mm: break
    return pose, trace, n, step
