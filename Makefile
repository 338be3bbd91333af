# `make help` lists the targets; each has one or two lines.
BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
# Ansible refuses every locale that is not UTF-8, also LC_ALL=C.
UTF8 := $(shell locale -a 2>/dev/null | grep -ixm 1 -e 'c\.utf-\?8' -e 'en_us\.utf-\?8')
ifneq ($(UTF8),)
export LC_ALL := $(UTF8)
endif

.DEFAULT_GOAL := help
.PHONY: help setup rehearse lint test unit plugins trainers playbooks molecule rehearsal mutants docs lock clean

help: ## this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 12

setup: .venv/installed ## the virtual environment, with everything locked
.venv/installed: requirements.lock pyproject.toml scripts/setup
	@scripts/setup

rehearse: setup ## a whole run on this machine, for free
	@fluxlora rehearse

# The inventory of vast.ai needs a key; without one ansible-lint skips its syntax checks without a message.
lint: setup ## ansible-lint, yamllint, ruff, mypy
	ruff check . && ruff format --check . && mypy && yamllint . && ANSIBLE_INVENTORY=inventory/runs.yml ansible-lint --offline

test: setup ## everything: unit, plugins, playbooks, molecule, rehearsal
	@scripts/test

unit plugins trainers playbooks: setup ## one layer of the tests
	pytest tests/$@

molecule: setup ## the roles, one by one, each on its own hosts
	@scripts/test $(patsubst tests/%/molecule.yml,%,$(wildcard tests/molecule/*/molecule.yml))

mutants: setup ## whether the tests notice small changes in the code about money
	python scripts/mutants.py

docs: setup ## remake the generated pages
	python scripts/make_docs.py

lock: setup ## remake requirements.lock from pyproject.toml
	@scripts/lock

clean: ## remove what was made here, but not artifacts
	rm -rf .venv .cache .fluxlora .mypy_cache .pytest_cache .ruff_cache build src/*.egg-info
