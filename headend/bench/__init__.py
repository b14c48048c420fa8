"""Benchmarks: what the product costs, measured beside the peers it is compared with.

The only part that imports the peers, inside functions and only when a benchmark runs; without them
it measures what needs none.
"""
