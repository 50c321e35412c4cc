# cython: language_level=3
"""Row kernel."""
