"""The model: loaders, network, stages, checkpoints, export. Imports torch and fastai, and never Kedro."""

import warnings

# fastai 2.8 still compiles a few losses with torch.jit.script on import; nothing a user can do about it.
warnings.filterwarnings("ignore", message=".*torch.jit.script", category=FutureWarning)
warnings.filterwarnings("ignore", message=".*torch.jit.script", category=DeprecationWarning)
