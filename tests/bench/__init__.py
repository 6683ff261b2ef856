"""Measurements on real data; ``make bench`` runs them all and writes docs/benchmarks."""
