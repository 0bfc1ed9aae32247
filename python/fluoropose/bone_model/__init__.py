"""Making a bone from a CT or a surface: the cut from its neighbours, the surface, and landmarks in symmetric pairs."""

from fluoropose.bone_model.build import BoneConfig, build_bone

__all__ = ["BoneConfig", "build_bone"]
