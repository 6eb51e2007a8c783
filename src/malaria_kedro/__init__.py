"""Parasitized or uninfected? Deep learning on red-blood-cell microscopy, as a Kedro project on fastai."""

__version__ = "0.1.0"
