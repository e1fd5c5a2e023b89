"""What sections of a report are made of: their parts, the evidence they speak of, and how figures are drawn.

A measure makes its section from these; the report lays out whatever sections it is given.
"""
