"""From a few slices to the volume and back, for any model: what is known, which way through, where to stop.

A run is an iterator of small steps (`walk`), so to cancel is to stop asking; what was found stays.
"""
