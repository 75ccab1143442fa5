"""Specs of River models, how to ask and teach them, and what is checked before one runs."""
