"""Foundations without a domain and without torch: errors, identity, validation, files, claims, provenance.

Every other package imports it; it imports none of them and knows nothing of runs.
"""
