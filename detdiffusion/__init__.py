"""DetDiffusion: layouts become pictures, and a detector says which objects are easy and which are hard.

Importing the package is cheap: torch and diffusers are loaded by the modules that need them.
"""

__version__ = "0.1.0"
