"""Computations as data: captured from a module, held against every rule, and run again without its class.

This room knows operators, graphs and call signatures. It does not know files, and how a module tree is saved and
built is the business of `values`.
"""
