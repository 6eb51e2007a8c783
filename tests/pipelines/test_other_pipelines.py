"""The pipelines before reporting: what they ask for, what they give, and how a variant is told apart."""

import pytest
from kedro.validation import TypeExtractor

from malaria_kedro.parameters import (
    Augment,
    CrossValidation,
    Evaluation,
    Image,
    Inference,
    LearningRateFinder,
    Report,
    Source,
    Split,
    Training,
    Variant,
)
from malaria_kedro.pipeline_registry import register_pipelines
from malaria_kedro.pipelines import cross_validation, data_engineering, learning_rate, modeling

DATA = ("cell_archive", "cell_images", "cell_index", "cell_splits", "cell_pixels", "databunch", "batch_preview")


def test_data_engineering_needs_nothing_but_parameters_and_folders_to_work_in():
    needed = {name for name in data_engineering.create_pipeline().inputs() if not name.startswith("params:")}
    assert needed == {"raw_folder", "unpacked_folder"}
    assert data_engineering.create_pipeline().all_outputs() == set(DATA)


def test_a_variant_trains_in_its_own_namespace_from_the_one_databunch():
    pipeline = modeling.create_pipeline(("resnet50",))
    blocks = {"params:resnet50", "params:training", "params:evaluation"}
    assert pipeline.inputs() == {"databunch", "run_state", "resnet50.checkpoints"} | blocks
    made = ("model_summary", "stage_1", "stage_2", "history", "batch_history", "classifier")
    assert pipeline.all_outputs() == {f"resnet50.{name}" for name in made}


def test_variants_share_nothing_but_data_machine_and_run():
    one, other = (modeling.create_pipeline((name,)) for name in ("resnet34", "resnet18"))
    assert one.datasets() & other.datasets() == {"databunch", "run_state", "params:training", "params:evaluation"}


def test_the_learning_rate_finder_is_off_the_default_path():
    pipelines = register_pipelines()
    searched = learning_rate.create_pipeline(("resnet18",)).all_outputs()
    assert searched == {"resnet18.learning_rate_curve", "resnet18.learning_rate_suggestion"}
    assert not searched & pipelines["__default__"].all_outputs()
    main_line = pipelines["data_engineering"] + pipelines["modeling"] + pipelines["reporting"]
    assert pipelines["__default__"].all_outputs() == main_line.all_outputs()


def test_the_cross_validation_is_off_the_default_path_and_ends_in_a_page_of_its_own():
    pipeline = cross_validation.create_pipeline()
    made = {f"cross_validation.{name}" for name in ("predictions", "history", "metrics", "folds", "report")}
    assert pipeline.all_outputs() == made | {"label_audit", "label_audit_sheet"}
    assert not pipeline.all_outputs() & register_pipelines()["__default__"].all_outputs()
    assert pipeline.inputs() == {
        *("databunch", "run_record", "run_state", "cross_validation.checkpoints", "parameters"),
        *("params:cross_validation", "params:training", "params:evaluation", "params:report"),
    }


@pytest.mark.parametrize(
    ("name", "types"),
    [
        (
            "data_engineering",
            {
                "source": Source,
                "split": Split,
                "image": Image,
                "augment": Augment,
                "evaluation": Evaluation,
                "report": Report,
            },
        ),
        ("modeling", {"resnet34": Variant, "resnet18": Variant, "training": Training, "evaluation": Evaluation}),
        (
            "cross_validation",
            {"cross_validation": CrossValidation, "training": Training, "evaluation": Evaluation, "report": Report},
        ),
        (
            "inference",
            {
                "inference": Inference,
                "source": Source,
                "training": Training,
                "evaluation": Evaluation,
                "report": Report,
            },
        ),
        (
            "learning_rate",
            {
                "resnet34": Variant,
                "resnet18": Variant,
                "training": Training,
                "learning_rate": LearningRateFinder,
                "evaluation": Evaluation,
                "report": Report,
            },
        ),
    ],
)
def test_kedro_sees_the_type_of_every_block(name, types):
    # Kedro leaves out, without a word, a node whose hints it cannot resolve.
    assert TypeExtractor({name: register_pipelines()[name]}).extract_types_from_pipelines() == types
