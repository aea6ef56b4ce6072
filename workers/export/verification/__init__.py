"""See ``__main__.py``. Nothing in this folder imports anything of this repository but by a dot."""
