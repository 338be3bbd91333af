"""The label carries a run through vast.ai and back."""

import pytest

from fluxlora.errors import InputError
from fluxlora.vast.labels import Label


@pytest.mark.parametrize(
    "label", [Label("my-style", ("512", "lokr")), Label("a"), Label("Anna.s_cat2", ("1024",)), Label("x" * 64, ("a",))]
)
def test_a_label_survives_vast_ai(label: Label) -> None:
    assert Label.parse(f"{label}\n") == label


def test_a_label_is_written_as_the_design_says() -> None:
    assert str(Label("my-style", ("512", "lokr"))) == "fluxlora/my-style/512+lokr"


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "simpletuner-1",
        "other/my-style/512",
        "fluxlora/my-style",
        "fluxlora//512",
        "fluxlora/my style/512",
        "fluxlora/{{ 7 * 7 }}/512",
        "fluxlora/my-style/512+",
        "fluxlora/localhost/512",
        "fluxlora/a/b/c",
    ],
)
def test_anybody_elses_label_is_not_read_as_ours(text: str | None) -> None:
    assert Label.parse(text) is None


@pytest.mark.parametrize(
    "run",
    [
        "pytorch_lora_weights",
        "PyTorch_LoRA_weights",
        "",
        "-a",
        "a-",
        "a b",
        "a/b",
        "a..b",
        "a:b",
        "a,b",
        "x" * 65,
        "localhost",
        "all",
        "training",
        "preset_512",
    ],
)
def test_a_name_that_ansible_or_the_hub_would_refuse_is_refused(run: str) -> None:
    with pytest.raises(InputError) as refused:
        Label(run)
    assert refused.value.code == "bad_run_name"
    assert refused.value.hint


def test_a_preset_name_that_breaks_the_label_is_refused() -> None:
    with pytest.raises(InputError) as refused:
        Label("a", ("512+lokr",))
    assert refused.value.code == "bad_preset_name"


@pytest.mark.parametrize("prefix", ["", "a/b", " a", "a ", "a b"])
def test_a_prefix_under_which_no_instance_would_be_found_again_is_refused(prefix: str) -> None:
    with pytest.raises(InputError) as refused:
        Label("a", prefix=prefix)
    assert refused.value.code == "bad_label_prefix"


def test_a_label_that_vast_ai_would_cut_is_refused() -> None:
    with pytest.raises(InputError) as refused:
        Label("a", ("p" * 100, "q" * 100, "r" * 100))
    assert refused.value.code == "label_too_long"
