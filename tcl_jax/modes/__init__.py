"""The modes of main.py, one file each: they join the other rooms."""
