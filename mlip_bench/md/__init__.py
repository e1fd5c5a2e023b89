"""Molecular dynamics of every family through LAMMPS."""
