"""Names and values that are credentials, those that only look like it, and data without them."""

from __future__ import annotations

import json
import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluxlora.errors import InputError
from fluxlora.onhost import supervisor
from fluxlora.settings.credentials import secret_name, secret_text, secret_url, without_secrets
from fluxlora.trainer import facts

HUB = "hf_" + "aB3" * 8
VAST, WANDB = "0f" * 32, "0f" * 20


@pytest.mark.parametrize(
    "name",
    [
        *("hub_token", "--hub_token", "HF_TOKEN", "hubToken", "auth-token", "token", "session_token", "sas_token"),
        *("access_key", "secret_key", "aws_access_key_id", "aws_secret_access_key", "application_key", "accountKey"),
        *("password", "db.passwd", "api_key", "WANDB_API_KEY", "connection_string", "private_key", "credentials"),
        *("client_secret", "webhook_secret", "Authorization", "api_tokens"),
    ],
)
def test_a_name_that_calls_a_credential_is_known_however_it_is_spelt(name):
    assert secret_name(name)


@pytest.mark.parametrize(
    "name",
    [
        *("tokenizer_max_length", "max_token", "max_tokens", "num_tokens", "token_count", "caption_key", "key"),
        *("pad_token", "trigger_token", "tokenizer", "keyboard", "secretary", "passage", "monkey", "training_tokens"),
        *("provision_secrets_file", "provision_ssh_key_file", "token_file", "password_length", "vastai_key_id"),
    ],
)
def test_a_name_that_only_resembles_one_is_left_alone(name):
    assert not secret_name(name)


def test_no_option_of_a_trainer_is_taken_for_a_credential():
    assert [option for line in ("3.1.6", "4.10.1") for option in facts(line).options if secret_name(option)] == []


@pytest.mark.parametrize(
    "text",
    [
        *(HUB, f"login {HUB} now", VAST, WANDB, f"local-{WANDB}", "wandb_v1_" + "x" * 40, "AKIA" + "Z2" * 8),
        *("ghp_" + "a1" * 18, "sk-" + "a1" * 16, "eyJhbGciOiJI.eyJzdWIiOiIx.sig"),
        "-----BEGIN RSA " + "PRIVATE KEY-----",
        *("Authorization: Bearer " + "a1" * 10, "DefaultEndpointsProtocol=https;AccountKey=" + "a1" * 20 + "=="),
        *("aB3/" * 10, "https://discord.com/api/webhooks/123/abc", "export HF_TOKEN=abcdefgh", "--api-key abcdefgh"),
        *("see https://jane:pw@example.org/x", "{'auth_token': 'abcdefgh'", "s3://b/k?X-Amz-Signature=abc"),
    ],
)  # fmt: skip
def test_a_credential_is_known_by_its_form(text):
    assert secret_text(text, "note")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("sha256", VAST),
        ("revision", WANDB),
        ("validation_prompt", "a token of love, the secret: photographs of my password manager = fun"),
        ("hub_model_id", "jane/hf_style"),
        ("model", "black-forest-labs/FLUX.1-dev"),
        ("aws_endpoint_url", "https://example.org/bucket?region=eu"),
        ("git_repo", "ssh://git@example.org/x.git"),
        ("cache_dir", "/root/SimpleTuner/cache/vae/flux/default_dataset"),
        ("id", "e5b7f0a2-1c1b-4b52-9a53-5e0b4a2c9d11"),
    ],
)
def test_ordinary_text_is_left_alone(name, text):
    assert not secret_text(text, name)


@pytest.mark.parametrize(
    ("url", "secret"),
    [
        ("https://jane:pw@example.org", True),
        ("https://sometoken@example.org", True),
        ("https://example.org/?access_token=1", True),
        ("https://example.org/?sig=1", True),
        ("https://example.org/?caption_key=1", False),
        ("ssh://git@example.org", False),
        ("http://[broken", False),
    ],
)
def test_a_url_tells_whether_it_lets_somebody_in(url, secret):
    assert secret_url(url) is secret


def test_data_is_walked_whole_and_each_credential_is_named_by_its_dotted_key():
    data = {
        "publishing_config": {"provider": "s3", "secret_key": "EXAMPLE", "more": [{"password": 12345}, "plain"]},
        "inline": json.dumps({"bucket": "b", "auth": {"access_key": "EXAMPLE"}}),
        "env": [{"name": "HF_TOKEN", "value": "EXAMPLE"}, {"name": "LANG", "value": "C"}],
        "harmless": HUB,
        HUB: 1,
        "hub_token": None,
        "show_secrets": True,
    }
    cleaned = without_secrets(data, "run")
    assert cleaned.dropped == (
        *("run.publishing_config.secret_key", "run.publishing_config.more.0.password", "run.inline.auth.access_key"),
        *("run.env.0.value", "run.harmless", "run.…"),
    )
    assert cleaned.value == {
        "publishing_config": {"provider": "s3", "more": [{}, "plain"]},
        "inline": '{"bucket": "b", "auth": {}}',
        "env": [{"name": "HF_TOKEN"}, {"name": "LANG", "value": "C"}],
        "hub_token": None,
        "show_secrets": True,
    }


def test_data_that_is_nested_deeper_than_any_configuration_ends_in_a_sentence():
    deep = {}
    for _ in range(100):
        deep = {"x": deep}
    with pytest.raises(InputError, match="nested too deep"):
        without_secrets(deep)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=20),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
        max_leaves=8,
    )
)
def test_whatever_the_data_is_a_second_walk_finds_nothing_more(data):
    assert without_secrets(without_secrets(data).value).dropped == ()


@pytest.mark.parametrize("part", ["a", "-", "eyJ-", "a-", "x=", "https://", "a:'", "-----BEGIN "])
def test_a_long_text_is_read_in_time_that_grows_with_its_length(part):
    began = time.monotonic()
    secret_text(part * (300_000 // len(part)))
    assert time.monotonic() - began < 20, "quadratic reading takes minutes"


def test_the_program_on_the_instance_hides_the_values_of_the_same_names():
    names = [
        "HF_TOKEN",
        "WANDB_API_KEY",
        "AWS_SECRET_ACCESS_KEY",
        "DB_PASSWORD",
        "GOOGLE_CREDENTIALS",
        "SSH_PASSPHRASE",
    ]
    assert [name for name in names if not (secret_name(name) and re.search(supervisor.SECRET_NAMES, name))] == []
