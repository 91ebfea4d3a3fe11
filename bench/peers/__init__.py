"""Contestants and sources of load that run in processes of their own; each is started with `python -m`."""
