"""Measurements: one script a question; each prints one table and can write JSON."""
