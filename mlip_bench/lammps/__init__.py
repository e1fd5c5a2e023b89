"""LAMMPS in this process: loading it, and sessions of it."""
