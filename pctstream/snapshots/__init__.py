"""Snapshots: what every shard held at one moment, outside the data directory, and back again."""
