"""Owns connectors in Kubernetes: what they are there."""

from headwater.kubernetes.options import Options, Settings
from headwater.kubernetes.target import Whereabouts, is_kubernetes, parse_profile, parse_target

__all__ = ["Options", "Settings", "Whereabouts", "is_kubernetes", "parse_profile", "parse_target"]
