"""Datasets: records, download, reading and checking of structures, splits."""
