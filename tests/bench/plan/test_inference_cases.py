"""The cases that follow from a plan."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from bench.core.budgets import BUDGETS, COMPILED_KINDS, COMPILED_LANGUAGE_KINDS
from bench.core.experiments import LANGUAGE_EXPERIMENTS
from bench.core.precisions import CLASSIFIER_PRECISIONS, LANGUAGE_PRECISIONS, MIXED, PRECISIONS
from bench.core.records import Measurement
from bench.core.runtimes import RUNTIMES
from bench.core.turns import reference_of
from bench.plan.command_line import make_plan
from bench.plan.inference_cases import (
    ceilings_case,
    image_sizes,
    inference_case,
    inference_rows,
    language_case,
    language_rows,
    largest_case,
    layer_case,
    layer_rows,
    rows_of,
    user_cases,
    why_sweep_ended,
)
from bench.plan.minutes import UNKNOWN, estimate
from bench.plan.plan import Plan, time_limit
from bench.plan.training_cases import needed_training, training_case

DEFAULTS: dict[str, Any] = {"device": "cpu", "dataset": "mnist5k", "data_dir": "data"}


ROW: dict[str, Any] = {"image_size": 32, "mode": "eager", "batch_size": 1, "precision": "fp32"}


def make(**given: Any) -> Plan:
    return make_plan({**DEFAULTS, **given}.get)


def test_inference_needs_the_training_that_the_run_does() -> None:
    made = make(models="cnn_small", seeds="5,6")
    needed = needed_training(made, "cnn_small", 32)
    assert needed == training_case(made, model="cnn_small", recipe="note4_cnn_small", seed=5)


def test_with_weights_nothing_is_trained() -> None:
    made = make(models="resnet18", weights=__file__)
    assert (made.trained, made.untrained) == ((), ("resnet18",))
    assert needed_training(made, "resnet18", 32) is None
    case = inference_case(made, model="resnet18", **ROW)
    assert case.option("weights") == str(Path(__file__).resolve())


def test_a_network_that_others_trained_has_no_recipe_of_ours() -> None:
    made = make(budget="quick")
    cases = [inference_case(made, **row) for row in inference_rows(made) if row["model"] == "efficientnet_lite0"]
    assert {case.recipe for case in cases} == {None}


def test_weights_with_other_contents_are_another_case(tmp_path: Path) -> None:
    weights = tmp_path / "weights.pt"

    def case_id() -> str:
        made = make(models="resnet18", weights=str(weights))
        return inference_case(made, model="resnet18", image_size=32, mode="eager", batch_size=1, precision="fp32").id

    weights.write_bytes(b"one")
    first = case_id()
    weights.write_bytes(b"two")
    assert case_id() != first


def test_a_network_whose_file_changed_is_another_case(tmp_path: Path) -> None:
    file = tmp_path / "own.py"
    model = f"{file}:network"
    file.write_text("network = 1")
    first = training_case(make(models=model), model=model, recipe="user", seed=0).id
    file.write_text("network = 2")
    again = make(models=model)
    assert training_case(again, model=model, recipe="user", seed=0).id != first
    whole = dataclasses.replace(again, sources={model: "hash of own.py and what it imports"})
    assert (
        training_case(whole, model=model, recipe="user", seed=0).option("source")
        == "hash of own.py and what it imports"
    )


def test_data_are_decoded_for_the_largest_images() -> None:
    assert largest_case(make(models="cnn_small,inception_v3,alexnet")).image_size == 75


def test_every_network_of_the_user_is_tried_at_its_own_size(tmp_path: Path) -> None:
    file = tmp_path / "own.py"
    file.write_text("")
    made = make(models=f"inception_v3,{file}:network")
    assert [(case.model, case.image_size) for case in user_cases(made)] == [(f"{file}:network", 32)]


def test_large_images_are_for_torchvision_networks() -> None:
    made = make(budget="full")
    assert image_sizes(made, "resnet18") == (32, 224)
    assert image_sizes(made, "cnn_small") == (32,)


def test_smoke_compiles_only_its_smallest_network() -> None:
    made = make(budget="smoke")
    assert {mode for _, mode, _, _ in rows_of(made, "cnn_small")} == {"eager", "compiled", "native"}
    assert rows_of(made, "resnet18") == [("torch", "eager", 2, "fp32")]


def test_smoke_runs_every_precision_and_each_way_to_compile() -> None:
    rows = {(mode, precision) for _, mode, _, precision in rows_of(make(budget="smoke"), "cnn_small")}
    eager = {("eager", precision) for precision in CLASSIFIER_PRECISIONS}
    torch = eager | {("compiled", precision) for precision in COMPILED_KINDS}
    assert {row for row in rows if row[0] != "native"} == torch


def test_smoke_runs_every_route_of_every_other_runtime() -> None:
    rows = {(runtime, precision) for runtime, _, _, precision in rows_of(make(budget="smoke"), "cnn_small")}
    expected = {(name, precision) for name, runtime in RUNTIMES.items() for precision in runtime.classifiers}
    expected = {row for row in expected if row[1] != MIXED}  # searched for where a drop is given
    assert {row for row in rows if row[0] != "torch"} == {row for row in expected if row[0] != "torch"}


def test_named_runtimes_are_all_there_is() -> None:
    made = make(runtimes="openvino", precisions="bf16,nf4", batch_sizes="8")
    assert rows_of(made, "cnn_small") == [("openvino", "native", 8, "bf16")]
    row = {"image_size": 32, "mode": "native", "batch_size": 8, "precision": "bf16"}
    case = inference_case(made, model="cnn_small", runtime="openvino", **row)
    assert (case.runtime, case.precision, case.mode) == ("openvino", "bf16", "native")


def test_a_runtime_without_rows_in_the_budget_is_measured_at_all_of_its_precisions() -> None:
    rows = {(runtime, precision) for runtime, _, _, precision in rows_of(make(runtimes="onnxruntime"), "cnn_small")}
    assert ("onnxruntime", "int8_static") in rows
    assert {runtime for runtime, _ in rows} == {"onnxruntime"}
    assert rows_of(make(runtimes="llama_cpp"), "cnn_small") == []


def test_what_is_compared_runs_side_by_side() -> None:
    """All precisions of one batch size, then those of the next smaller one; no row twice."""
    rows = rows_of(make(models="cnn_small", precisions="fp32,nf4", modes="eager", batch_sizes="1,8"), "cnn_small")
    assert [row for row in rows if row[0] == "torch"] == [
        ("torch", "eager", size, precision) for size in (8, 1) for precision in ("fp32", "nf4")
    ]


def test_both_modes_of_a_batch_size_run_before_the_next_batch_size() -> None:
    """Rows are compared with fp32 in their mode and with fp32 eager: neither is hours away."""
    given = {"precisions": "fp32,nf4", "modes": "eager,compiled", "batch_sizes": "1,8"}
    one_size = [("eager", "fp32"), ("eager", "nf4"), ("compiled", "fp32"), ("compiled", "nf4")]
    rows = rows_of(make(models="cnn_small", **given), "cnn_small")
    assert rows == [("torch", mode, size, precision) for size in (8, 1) for mode, precision in one_size]
    decode = [row for row in language(**given) if row[0] == "decode"]
    assert [(row[4], row[5], row[3]) for row in decode] == [
        (mode, size, precision) for size in (1, 8) for mode, precision in one_size
    ]


def test_ceilings_are_a_case_of_the_machine() -> None:
    case = ceilings_case(make())
    assert (case.experiment, case.model, case.dataset) == ("ceilings", "hardware", "random")


def test_the_twin_of_a_reference_is_another_case_of_the_same_set() -> None:
    made = make()
    rows = [row for row in inference_rows(made) if row["model"] in made.budget.twins]
    twins = [row for row in rows if row["twin"]]
    assert {(row["mode"], row["precision"]) for row in twins} == {("eager", "fp32")}
    for row in twins:
        reference, twin = inference_case(made, **{**row, "twin": 0}), inference_case(made, **row)
        assert reference.id != twin.id
        assert reference_of(twin) == reference


def test_named_networks_are_measured_in_every_row() -> None:
    """The budget times NF4 on one network; the one that is asked for has it all the same."""
    assert "nf4" not in {precision for *_, precision in rows_of(make(), "cnn_small")}
    assert "nf4" in {precision for *_, precision in rows_of(make(models="cnn_small"), "cnn_small")}


def test_images_of_a_training_can_be_given() -> None:
    training = training_case(make(train_images=600), model="cnn_vgg", recipe="note2_cnn_vgg", seed=0)
    assert (training.option("train_images"), training.option("epoch_images")) == (600, 100)


def test_images_that_judge_can_be_given_and_then_take_their_time() -> None:
    def options(**given: Any) -> tuple[object, object]:
        case = inference_case(make(**given), model="cnn_small", **ROW)
        return case.option("test_images"), case.option("judging_seconds")

    quick = BUDGETS["quick"]
    assert options() == (quick.test_images, quick.judging_seconds)
    assert options(test_images=500) == (500, None)
    assert options(budget="full") == (None, None)


def test_a_layer_is_a_case_of_its_width() -> None:
    case = layer_case(make(), kind="conv3x3", width=64, mode="eager", batch_size=2, precision="nf4_weights")
    assert (case.experiment, case.model, case.option("width"), case.image_size) == ("layers", "conv3x3", 64, 16)


def test_time_limits() -> None:
    made = make()
    training = training_case(made, model="cnn_small", recipe="note4_cnn_small", seed=0)
    assert time_limit(made, training) == BUDGETS["quick"].training_timeout
    assert time_limit(make(case_timeout=7.0), training) == 7.0


def test_limits_of_pytest_benchmark_reach_the_stopping_rule() -> None:
    made = make(benchmark_max_time=3.0)
    case = inference_case(made, model="cnn_small", image_size=32, mode="eager", batch_size=1, precision="fp32")
    assert case.option("max_seconds") == 3.0


def language(**given: Any) -> list[tuple[Any, ...]]:
    """The language rows of a plan: experiment, model, runtime, precision, mode, batch size, prompt and repeat."""
    return [tuple(row.values()) for row in language_rows(make(**given))]


def test_language_rows_are_side_by_side_and_each_once() -> None:
    asked = {"precisions": "fp32,nf4", "batch_sizes": "1,8", "modes": "eager,compiled", "prompt_tokens": "16,32"}
    assert not any(row[0] == "chat" for row in language(**asked))  # not in `quick`, unless tokens are asked for
    rows = language(**asked, new_tokens=10)
    assert len(rows) == len(set(rows))
    prefill = [row for row in rows if row[0] == "prefill"]
    assert [(row[3], row[5], row[6]) for row in prefill] == [
        (precision, size, prompt) for size in (1, 8) for prompt in (16, 32) for precision in ("fp32", "nf4")
    ]
    assert {row[4] for row in prefill} == {"eager"}
    decode = [row for row in rows if row[0] == "decode"]
    assert [row[3:7] for row in decode[:2]] == [("fp32", "eager", 1, 16), ("nf4", "eager", 1, 16)]
    assert {(row[4], row[5], row[6]) for row in decode} == {
        (mode, size, 16) for mode in ("eager", "compiled") for size in (1, 8)
    }
    for experiment in ("load", "perplexity", "chat"):
        assert [row[3:7] for row in rows if row[0] == experiment] == [
            ("fp32", "eager", 1, 0),
            ("nf4", "eager", 1, 0),
        ]


def test_what_does_not_depend_on_chance_is_not_repeated() -> None:
    rows = language(precisions="fp32", runtimes="torch", repeats=3, new_tokens=10, prompt_tokens="16")
    assert sum(row[0] == "load" for row in rows) == 3
    assert sum(row[0] in ("prefill", "decode") for row in rows) == 2  # their processes are those of sets
    assert sum(row[0] in ("perplexity", "chat") for row in rows) == 2


def test_a_runtime_runs_its_own_precisions_in_its_own_mode() -> None:
    made = make(runtimes="openvino,llama_cpp", precisions="bf16,q8_0")
    rows = {(row["runtime"], row["precision"], row["mode"]) for row in language_rows(made)}
    assert rows == {("openvino", "bf16", "native"), ("llama_cpp", "bf16", "native"), ("llama_cpp", "q8_0", "native")}


def test_random_weights_are_not_asked_for_answers() -> None:
    asked = {"llm": "llama3-8b-shape", "prompt_tokens": "16"}
    assert {row[0] for row in language(**asked)} == {"load", "prefill", "decode"}


def test_quick_takes_the_first_token_of_decoding_unless_lengths_are_asked_for() -> None:
    for budget, asked, prompts in (("quick", {}, []), ("quick", {"prompt_tokens": "16"}, [16]), ("gpu", {}, [128])):
        rows = language(budget=budget, precisions="fp32", runtimes="torch", modes="eager", llm="smollm2-135m", **asked)
        assert [row[6] for row in rows if row[0] == "prefill"] == prompts
        assert any(row[0] == "decode" for row in rows)


def test_precisions_are_for_classifiers_or_language_models_or_both() -> None:
    made = make(precisions="int8_static,nf4_bf16,fp32")
    assert {row[3] for row in rows_of(made, "cnn_small")} == {"int8_static", "fp32"}
    assert {row["precision"] for row in language_rows(made)} == {"nf4_bf16", "fp32"}


def test_a_language_case_says_what_shapes_it() -> None:
    made = make(new_tokens=7, text_tokens=99)
    row = {"model": "smollm2-135m", "precision": "nf4", "mode": "eager", "batch_size": 2, "repeat": 0}
    decode = language_case(made, experiment="decode", prompt=16, **row)
    assert (decode.option("prompt_tokens"), decode.option("new_tokens")) == (16, 7)
    assert decode.option("text_digest") == made.text.digest
    perplexity = language_case(made, experiment="perplexity", prompt=0, **row)
    assert perplexity.option("text_tokens") == 99
    assert language_case(made, experiment="chat", prompt=0, **row).option("new_tokens") == 7
    assert dict(language_case(made, experiment="load", prompt=0, **row).options) == {}


def test_other_weights_under_a_name_are_another_case() -> None:
    made = make()
    row: dict[str, Any] = {"model": "smollm2-135m", "precision": "nf4", "mode": "eager", "batch_size": 1}
    cases = [
        language_case(
            dataclasses.replace(made, model_digests={"smollm2-135m": digest}),
            experiment="load",
            prompt=0,
            repeat=0,
            **row,
        )
        for digest in ("a", "b")
    ]
    assert cases[0].id != cases[1].id


def test_smoke_measures_language_models_at_every_precision_and_compiles_each_kind() -> None:
    rows = list(language_rows(make(budget="smoke")))
    for experiment in LANGUAGE_EXPERIMENTS:
        eager = {row["precision"] for row in rows if (row["experiment"], row["mode"]) == (experiment, "eager")}
        assert eager == set(LANGUAGE_PRECISIONS)
    compiled = {(row["experiment"], row["precision"]) for row in rows if row["mode"] == "compiled"}
    assert compiled == {("decode", precision) for precision in COMPILED_LANGUAGE_KINDS}


def test_each_way_to_load_a_language_model_has_a_kind_that_is_compiled() -> None:
    """Of torch's own formats one, of each other function of each library one."""
    kinds, every = (
        {(PRECISIONS[name].library, PRECISIONS[name].load) for name in names if "cpu" in PRECISIONS[name].devices}
        for names in (COMPILED_LANGUAGE_KINDS, LANGUAGE_PRECISIONS)
    )
    libraries = {library for library, _ in every}
    assert {library for library, _ in kinds} == libraries
    assert {load for library, load in every if library == "torch"} == {
        load for library, load in kinds if library == "torch"
    }


@pytest.mark.parametrize(("asked", "drop"), [(None, None), ("0.5", 0.005), ("0", 0.0)])
def test_a_given_drop_adds_mixed_precision_to_static_int8(asked: str | None, drop: float | None) -> None:
    made = make(models="resnet14_cifar", **({"max_drop": asked} if asked else {}))
    rows = rows_of(made, "resnet14_cifar")
    static = {(runtime, mode, size) for runtime, mode, size, precision in rows if precision == "int8_static"}
    mixed = {(runtime, mode, size) for runtime, mode, size, precision in rows if precision == MIXED}
    assert mixed == (static if asked else set())
    cases = [
        inference_case(
            made,
            model="resnet14_cifar",
            image_size=32,
            runtime=runtime,
            mode=mode,
            batch_size=size,
            precision=precision,
        )
        for runtime, mode, size, precision in rows
    ]
    assert {case.option("max_drop") for case in cases if case.precision == MIXED} == ({drop} if asked else set())
    assert {case.option("max_drop") for case in cases if case.precision != MIXED} == {None}


def test_networks_that_a_budget_takes_pretrained_have_no_mixed_precision() -> None:
    made = make(max_drop="1")
    assert {model for model in made.models if MIXED in {row[3] for row in rows_of(made, model)}} == set(made.trained)


def test_a_sweep_rises_and_leaves_other_experiments_their_batch_sizes() -> None:
    made, usual = make(batch_sizes="sweep"), make()
    sizes = [row[2] for row in rows_of(made, "cnn_small")]
    assert sizes == sorted(sizes)
    assert set(sizes) == {2**power for power in range(17)}
    assert made.layers == usual.layers
    assert made.language == usual.language


def swept(batch: int, seconds: float, precision: str = "fp32") -> Measurement:
    case = inference_case(make(), model="cnn_small", image_size=32, mode="eager", batch_size=batch, precision=precision)
    return Measurement(case=case, seconds=(seconds,), items_per_step=batch)


def test_a_sweep_ends_where_no_route_gains() -> None:
    at = swept(8, 1.0).case
    still = [swept(2, 1.0), swept(4, 2.0), swept(2, 1.0, "bf16"), swept(4, 1.9, "bf16")]
    assert why_sweep_ended(at, still) is None, "bf16 gains 5 %"
    assert "batch 4" in str(why_sweep_ended(at, still[:2]))
    assert "no route ran at batch 4" in str(why_sweep_ended(at, still[:1]))
    assert why_sweep_ended(swept(1, 1.0).case, []) is None
    assert why_sweep_ended(swept(2, 1.0).case, [swept(1, 1.0)]) is None


def test_the_gpu_budget_takes_a_quarter_of_an_hour(monkeypatch: pytest.MonkeyPatch) -> None:
    """By its estimates, without their factor for the unknown; nobody names what costs hours by chance."""
    monkeypatch.setattr("bench.plan.command_line.gpu_count", lambda: 1)
    made = make(device="cuda")
    assert made.budget.name == "gpu"
    inference, language, layers = list(inference_rows(made)), list(language_rows(made)), list(layer_rows(made))
    assert {(row["model"], row["image_size"]) for row in inference} == {
        ("resnet18_cifar", 32),
        ("resnet18", 224),
        ("mobilenet_v2", 224),
    }
    of_weights = {row["model"] for row in language if row["precision"] in ("nf4_bf16", "int4_linear")}
    assert of_weights == {"llama3-8b-shape"}
    experiments = [("inference", inference), ("layers", layers), ("", language)]
    seconds = sum(
        estimate(name or row["experiment"], row, made.budget, made.sets, "cuda")
        for name, rows in experiments
        for row in rows
    )
    assert 10 * 60 < seconds / UNKNOWN < 16 * 60
