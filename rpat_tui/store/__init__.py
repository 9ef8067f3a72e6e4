"""The database: an index of run directories, and the only place that knows SQL."""
