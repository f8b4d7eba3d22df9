"""The words of Headwater as values: records, requests, checkpoints, errors, units. No input or output happens here."""
