"""Atom-centred symmetry functions, the inputs of several families: values, choice and kernels."""
