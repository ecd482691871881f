"""The version of this package; `setup.py` runs this file."""

VERSION = "0.1.0"
