"""The model: loaders, network, stages, checkpoints, export. Imports torch and fastai, and never Kedro."""
