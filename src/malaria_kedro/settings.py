"""Kedro's settings, and the names of the model variants."""

import warnings

from malaria_kedro.configuration import ConfigurationLoader
from malaria_kedro.databunch_hooks import DataBunchHooks
from malaria_kedro.hooks import DataFolderHooks, ParameterHooks, StoredDataHooks, VariantHooks, VersionHooks
from malaria_kedro.prerequisites import PrerequisiteHooks
from malaria_kedro.run_lines import RunLines

# Kedro 1.7 calls OmegaConf by an older name; nothing a user can do about it.
warnings.filterwarnings("ignore", message="register_new_resolver")

# Each name is a block in conf/base/parameters_modeling.yml and a namespace of the pipelines modeling and reporting.
# A third variant is its name here and its block there.
VARIANTS = ("resnet34", "resnet18")

# Of several that want to be first, Kedro calls the last one first.
HOOKS = (
    ParameterHooks(VARIANTS),
    PrerequisiteHooks(),
    VariantHooks(VARIANTS),
    VersionHooks(),
    DataBunchHooks(),
    DataFolderHooks(),
    RunLines(),
    StoredDataHooks(),
)

# kedro-telemetry comes along with kedro-viz; .telemetry withholds consent, and this keeps it from loading at all.
DISABLE_HOOKS_FOR_PLUGINS = ("kedro-telemetry",)

CONFIG_LOADER_CLASS = ConfigurationLoader
CONFIG_LOADER_ARGS = {
    "base_env": "base",
    "default_run_env": "local",
    # Environments override single leaves instead of whole blocks.
    "merge_strategy": {"parameters": "soft"},
}
