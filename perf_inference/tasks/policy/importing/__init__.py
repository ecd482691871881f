"""Contracts of what LeRobot, Isaac Lab and rosetta write beside a policy; what they do not say stays open."""
