"""How the packages are built: `python -m pack`, by the checkout's Python, with the folder above this on its path."""
