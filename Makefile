# `make help` lists what can be done; each target is one or two lines.
BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
# Ansible refuses every locale that is not of UTF-8, LC_ALL=C too.
UTF8 := $(shell locale -a 2>/dev/null | grep -ixm 1 -e 'c\.utf-\?8' -e 'en_us\.utf-\?8')
ifneq ($(UTF8),)
export LC_ALL := $(UTF8)
endif

.DEFAULT_GOAL := help
.PHONY: help setup rehearse lint types check test unit plugins trainers playbooks molecule rehearsal mutants docs lock clean

help: ## this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 12

setup: .venv/installed ## the virtual environment, with everything locked
.venv/installed: requirements.lock pyproject.toml scripts/setup
	@scripts/setup

rehearse: setup ## a whole run on this machine, for free
	@fluxlora rehearse

# The inventory of vast.ai wants a key, and without one ansible-lint leaves out its syntax checks and says nothing.
lint: types ## ansible-lint, yamllint, ruff, mypy
	yamllint . && ANSIBLE_INVENTORY=inventory/runs.yml ansible-lint --offline

types: setup
	ruff check . && ruff format --check . && mypy

check: setup ## the inner loop: ruff, mypy and the unit tests, side by side
	@$(MAKE) --no-print-directory --jobs 2 --output-sync types unit

test: setup ## everything: unit, plugins, playbooks, molecule, rehearsal
	@scripts/test

unit plugins trainers playbooks: setup ## one layer of the tests
	pytest tests/$@

molecule: setup ## the roles, one by one, on hosts of their own
	@scripts/test $(patsubst tests/%/molecule.yml,%,$(wildcard tests/molecule/*/molecule.yml))

mutants: setup ## whether the tests notice small changes of what spends and guards money
	python scripts/mutants.py

docs: setup ## remake the generated pages
	python scripts/make_docs.py

lock: setup ## remake requirements.lock from pyproject.toml
	@scripts/lock

clean: ## remove what was made here, but never artifacts
	rm -rf .venv .cache .fluxlora .mypy_cache .pytest_cache .ruff_cache build src/*.egg-info
