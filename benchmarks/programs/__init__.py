"""Programs that are compared by `accuracy.py`: one file each, run as a user would run them."""
