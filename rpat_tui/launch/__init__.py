"""Processes: the worker, the attendant of each run, devices."""
