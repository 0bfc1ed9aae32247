"""Draws the pictures that come through standard input, until it ends: ``python -m fluoropose.streaming.viewer``."""

from __future__ import annotations

import os
import pickle
import sys
from pathlib import Path

from fluoropose._files import atomic_path
from fluoropose.streaming.viewer.picture import Setting
from fluoropose.streaming.viewer.scene import Scene


def main() -> None:
    """Read a setting, then pictures; each comes from the parent, by pickle."""
    os.nice(10)  # the tracker comes first
    setting: Setting = pickle.load(sys.stdin.buffer)
    if setting.record is None:
        _draw(setting)
        return
    with atomic_path(Path(setting.record)) as temporary:
        _draw(Setting(setting.rig, setting.bone, str(temporary)))


def _draw(setting: Setting) -> None:
    scene = Scene(setting)
    print("drawing", flush=True)  # the parent waits for it
    try:
        while True:
            scene.show(pickle.load(sys.stdin.buffer))
    except EOFError:
        scene.close()


main()
