"""Transforms: SmartModules that records pass through on their way into a topic, in WebAssembly."""
