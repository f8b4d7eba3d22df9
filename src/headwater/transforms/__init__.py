"""Owns SmartModules: finding, bounding and running them, in WebAssembly and in Python, alone and in chains."""
