"""Owns SmartModules: finding, bounding and running them, in WebAssembly and in Python, alone and in chains."""

from headwater.transforms.abi import Kind, Lookback, Parameters
from headwater.transforms.chain import Chain, Passed, Rejection, Step
from headwater.transforms.library import Library, chains_of
from headwater.transforms.python import smartmodule
from headwater.transforms.stage import Limits, Stage

__all__ = [
    "Chain",
    "Kind",
    "Library",
    "Limits",
    "Lookback",
    "Parameters",
    "Passed",
    "Rejection",
    "Stage",
    "Step",
    "chains_of",
    "smartmodule",
]
