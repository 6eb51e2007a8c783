"""What must stay light: listing pipelines and loading a catalog import neither torch nor fastai."""

import subprocess
import sys

import pytest

HEAVY = {"torch", "torchvision", "fastai"}


@pytest.mark.parametrize(
    "code",
    [
        "from malaria_kedro.pipeline_registry import register_pipelines; register_pipelines()",
        "import importlib, pkgutil, malaria_kedro.datasets as package;"
        "names = [module.name for module in pkgutil.iter_modules(package.__path__)];"
        "[importlib.import_module(f'{package.__name__}.{name}') for name in names]",
    ],
    ids=["the pipelines", "the datasets"],
)
def test_no_heavy_import(code):
    code += f"; import sys; sys.exit(', '.join({HEAVY} & sys.modules.keys()) or 0)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (found.returncode, found.stderr.strip()) == (0, "")
