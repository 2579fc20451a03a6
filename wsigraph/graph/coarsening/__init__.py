"""Neighbouring regions of one tissue merged by a learned embedding."""
