"""What a rehearsal's host takes over from this machine."""

from __future__ import annotations

from pathlib import Path

from fluxlora.rehearsal.hosts.inherited import BUNDLE, Inherited, find_python, parse_pip_config

DEFAULT = "https://index.example/simple"


def settings(pip: dict[str, str] | None = None, **environ: str) -> Inherited:
    return Inherited(pip=pip or {}, pip_default_index=DEFAULT, environ=environ)


def test_a_laptop_without_settings_hands_over_pips_own_index_alone():
    assert settings().environment() == {"POETRY_PYPI_MIRROR_URL": DEFAULT}
    assert settings().folders == ()


def test_the_environment_beats_the_install_section_beats_the_global_one():
    listing = ":env:.timeout='3'\nglobal.timeout='1'\nglobal.retries='1'\ninstall.timeout='2'\ninstall.retries='2'\n"
    assert parse_pip_config(listing) == {"timeout": "3", "retries": "2"}


def test_a_list_on_several_lines_becomes_one():
    pip = parse_pip_config(r"global.extra-index-url='\nhttps://a.example/simple\nhttps://b.example/simple'")
    assert settings(pip).environment()["PIP_EXTRA_INDEX_URL"] == "https://a.example/simple https://b.example/simple"


def test_poetrys_mirror_is_the_index_pip_is_set_to():
    assert settings({"index-url": "https://own.example/simple"}).environment()["POETRY_PYPI_MIRROR_URL"] == (
        "https://own.example/simple"
    )


def test_an_address_with_a_password_is_not_handed_over():
    pip = {
        "index-url": "https://me:secret@own.example/simple",
        "extra-index-url": "https://x:y@a.example https://b.example",
    }
    environment = settings(pip, https_proxy="http://me:secret@proxy.example:3128").environment()
    assert environment == {"PIP_EXTRA_INDEX_URL": "https://b.example", "POETRY_PYPI_MIRROR_URL": DEFAULT}


def test_where_pip_keeps_things_on_this_machine_is_not_handed_over():
    assert settings({"cache-dir": "/x", "target": "/y", "client-cert": "/z"}).environment() == settings().environment()


def test_the_stand_ins_are_reached_past_a_proxy():
    environment = settings(http_proxy="http://proxy.example:3128", no_proxy="intern.example").environment()
    assert environment["http_proxy"] == "http://proxy.example:3128"
    assert environment["no_proxy"] == environment["NO_PROXY"] == "intern.example,127.0.0.1,localhost"


def test_a_wheel_folder_and_a_local_index_are_mounted_with_what_the_index_links_to(tmp_path: Path):
    wheels, index, files = tmp_path / "wheels", tmp_path / "mirror" / "simple", tmp_path / "mirror" / "files"
    for folder in (wheels, index / "pkg", files):
        folder.mkdir(parents=True)
    (index / "pkg" / "index.html").write_text('<a href="../../files/pkg-1-py3-none-any.whl#sha256=0">pkg</a>')
    pip = {"find-links": f"{wheels} /not/here https://far.example", "extra-index-url": index.as_uri()}
    assert settings(pip).folders == (index, files, wheels)


def test_a_folder_beside_a_local_index_that_no_page_links_to_is_not_mounted(tmp_path: Path):
    index = tmp_path / "simple"
    (index / "pkg").mkdir(parents=True)
    (tmp_path / "private").mkdir()
    (index / "pkg" / "index.html").write_text('<a href="pkg-1-py3-none-any.whl">pkg</a>')
    assert settings({"index-url": index.as_uri()}).folders == (index,)


def test_a_ca_bundle_is_taken_and_every_tool_is_told_where_it_will_be(tmp_path: Path):
    bundle = tmp_path / "ca.pem"
    bundle.write_text("-----BEGIN CERTIFICATE-----\n")
    inherited = settings(SSL_CERT_FILE=str(bundle))
    assert inherited.ca_bundle == bundle
    names = ("PIP_CERT", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE", "CURL_CA_BUNDLE")
    assert {inherited.environment()[name] for name in names} == {BUNDLE}


def test_uv_is_told_of_pips_main_index_and_of_no_other():
    pip = {"index-url": "https://own.example/simple", "extra-index-url": "https://b.example", "find-links": "/x"}
    environment = settings(pip).environment()
    assert environment["UV_DEFAULT_INDEX"] == "https://own.example/simple"
    assert [name for name in environment if name.startswith("UV_")] == ["UV_DEFAULT_INDEX"]


def interpreter(folder: Path, answer: str) -> str:
    """Something that answers as a python of that version and prefix would."""
    folder.mkdir()
    (folder / "python3.12").write_text(f"#!/bin/sh\necho {answer}\n")
    (folder / "python3.12").chmod(0o755)
    return str(folder / "python3.12")


def test_the_first_python_of_the_version_that_is_an_installation_of_its_own_is_found(tmp_path: Path):
    candidates = [
        None,
        str(tmp_path / "not-there"),
        interpreter(tmp_path / "other", "python3.11 /opt/other"),
        interpreter(tmp_path / "distribution", "python3.12 /usr"),
        interpreter(tmp_path / "silent", ""),
        interpreter(tmp_path / "own", "python3.12 /opt/my python"),
        interpreter(tmp_path / "second", "python3.12 /opt/second"),
    ]
    assert find_python("python3.12", candidates) == Path("/opt/my python")
    assert find_python("python3.12", candidates[:5]) is None


def test_a_python_is_mounted_where_it_is_here_and_comes_last_in_the_path(tmp_path: Path):
    inherited = Inherited(pip={}, pip_default_index=DEFAULT, environ={}, python=tmp_path)
    assert inherited.folders == (tmp_path,)
    assert inherited.environment()["PATH"].endswith(f"/sbin:/bin:{tmp_path}/bin")
    assert inherited.environment()["PATH"].startswith("/usr/local/sbin:")
