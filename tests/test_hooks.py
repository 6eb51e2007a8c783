"""What is checked before a run, and what is said of phantoms."""

from types import SimpleNamespace

import pytest
from kedro.config import OmegaConfigLoader

from malaria_kedro.hooks import ParameterHooks, PhantomHooks
from malaria_kedro.parameters import ParameterError
from malaria_kedro.settings import CONFIG_LOADER_ARGS, VARIANTS


def context(env: str, **runtime):
    """Return a context with the project's own configuration."""
    from pathlib import Path

    conf = str(Path(__file__).parents[1] / "conf")
    loader = OmegaConfigLoader(conf, env=env, runtime_params=runtime, **CONFIG_LOADER_ARGS)
    return SimpleNamespace(config_loader=loader)


def test_good_parameters_pass():
    hooks = ParameterHooks(VARIANTS)
    hooks.after_context_created(context("demo"))
    hooks.before_pipeline_run(run_params={})


def test_a_wrong_one_stops_the_run():
    with pytest.raises(ParameterError, match=r"split\.valid_pct"):
        ParameterHooks(VARIANTS).after_context_created(context("demo", split={"valid_pct": 2}))


def test_a_variant_without_a_block_is_named():
    with pytest.raises(ParameterError, match="resnet50"):
        ParameterHooks((*VARIANTS, "resnet50")).after_context_created(context("demo"))


@pytest.mark.parametrize(
    ("env", "runtime", "warned"),
    [("demo", {}, True), ("cpu", {}, False), ("demo", {"source": {"path": "x.zip"}}, False)],
)
def test_phantoms_are_announced(env, runtime, warned, caplog):
    hooks = PhantomHooks()
    hooks.after_context_created(context(env, **runtime))
    hooks.before_pipeline_run()
    assert ("phantom cells" in caplog.text) is warned
