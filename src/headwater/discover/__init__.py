"""Owns the discovery of endpoints: from a command line, a HAR file, an OpenAPI document or an address to a connect.yml.

Pure: what is to be asked is yielded, and what came of it is sent in.
"""
