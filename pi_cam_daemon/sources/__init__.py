"""The kinds of camera. source.py has their interface, choose.py picks one."""
