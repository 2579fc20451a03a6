"""Slides of any usual format as lazy pixels at any resolution."""
