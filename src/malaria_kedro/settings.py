"""Kedro's settings, and the names of the model variants."""

import warnings
from typing import Any

from kedro.config import OmegaConfigLoader
from omegaconf import OmegaConf

from malaria_kedro.hooks import DataFolderHooks, ParameterHooks, StoredDataHooks, VersionHooks

# Kedro 1.7 calls OmegaConf by an older name; nothing a user can do about it.
warnings.filterwarnings("ignore", message="register_new_resolver")

# Each name is a block in conf/base/parameters_modeling.yml and a namespace of the pipelines modeling and reporting.
# A third variant is its name here and its block there.
VARIANTS = ("resnet34", "resnet18")

HOOKS = (ParameterHooks(VARIANTS), VersionHooks(), DataFolderHooks(), StoredDataHooks())

# kedro-telemetry comes along with kedro-viz; .telemetry withholds consent, and this keeps it from loading at all.
DISABLE_HOOKS_FOR_PLUGINS = ("kedro-telemetry",)


class ParametersInCatalog(OmegaConfigLoader):
    """Kedro's loader with a resolver ``parameters``, so that a catalog entry may depend on a parameter."""

    def __getitem__(self, key: str) -> Any:
        if key == "catalog":  # resolvers belong to the process, and another session's loader may have set its own
            OmegaConf.register_new_resolver("parameters", self._parameter, replace=True)
        return super().__getitem__(key)

    def _parameter(self, key: str) -> Any:
        return OmegaConf.select(OmegaConf.create(self["parameters"]), key)


CONFIG_LOADER_CLASS = ParametersInCatalog
CONFIG_LOADER_ARGS = {
    "base_env": "base",
    "default_run_env": "local",
    # Environments override single leaves instead of whole blocks.
    "merge_strategy": {"parameters": "soft"},
}
