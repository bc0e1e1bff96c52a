# make            what there is
# make demo       a small cloud on this machine, from nothing
# make test       everything that is checked; what .ci/run runs
SHELL := /bin/bash
.DEFAULT_GOAL := help
LAB ?= lab
TOPOLOGY ?= three_hosts
HOST ?=
LANES := .venv/bin/python tools/lanes.py
IN_LAB := tests/lab/novalab

.PHONY: help
help: ## This list
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 24

.PHONY: setup
setup: ## Distribution packages, .venv and development tree (cheap when done)
	@tools/setup

.PHONY: demo
demo: setup ## A small cloud on this machine, from nothing
	@tests/lab/demo

.PHONY: test
test: setup ## All lanes; the output closes with pytest's summary
	@$(LANES) test

.PHONY: lint sanity docs build core-3.9 pyroute2-ends unit kernel lab integration molecule
lint: setup ## ruff, mypy, yamllint, ansible-lint, changelog, role arguments
	@$(LANES) lint
sanity: setup ## ansible-test sanity, for every Python that is here
	@$(LANES) sanity
docs: setup ## Documentation of plugins and roles
	@$(LANES) docs
build: setup ## Build the archive, install it offline, find its contents by name
	@$(LANES) build
core-3.9: setup ## The pure core's tests under Python 3.9, where there is one
	@$(LANES) core-3.9
pyroute2-ends: setup ## The links driver under the oldest and the newest pyroute2
	@$(LANES) pyroute2-ends
unit: setup ## Tests without root
	@$(LANES) unit
kernel: setup ## Drivers against this machine's kernel (root)
	@$(LANES) kernel
lab: setup ## The whole flow on the lab's hosts (root)
	@$(LANES) lab
integration: setup ## ansible-test integration, apart from the machine (root)
	@$(LANES) integration
molecule: setup ## Role scenarios (root)
	@$(LANES) molecule

.PHONY: bench
bench: setup ## Measure
	@.venv/bin/python tests/bench/run.py

.PHONY: lab-up lab-shell lab-down
lab-up: setup ## Start a lab: LAB=name TOPOLOGY=file
	@$(IN_LAB) up -n $(LAB) $(TOPOLOGY)
lab-shell: ## A shell on a host of the lab: HOST=name
	@$(if $(HOST),,echo "which host? make lab-shell HOST=name" >&2; exit 2)
	@$(IN_LAB) shell -n $(LAB) $(HOST)
lab-down: ## Stop the lab
	@$(IN_LAB) down -n $(LAB)

.PHONY: format lock
format: setup ## Put Python files into shape
	@.venv/bin/ruff check --fix --quiet . ; .venv/bin/ruff format .
lock: setup ## Resolve requirements/*.in anew
	@tools/lock

.PHONY: clean
clean: ## Remove every trace (PACKAGES=1: the distribution packages that setup installed as well)
	@PACKAGES=$(PACKAGES) tools/clean
