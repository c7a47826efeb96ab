# Two commands do everything: `make demo` (slides to report) and `make test`. Both first make a virtual environment.

SHELL := /bin/bash
PYTHON ?= python3.11
CORES ?= $(shell env -u OMP_NUM_THREADS nproc)
VENV := .venv
SNAKEMAKE := $(VENV)/bin/snakemake
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)

.DEFAULT_GOAL := help
.PHONY: help demo baselines gut-baselines side-by-side share test test-slurm test-long lint

help: ## what there is
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

ALONE := '^(histolab|lavlab-shell)=='

# Torch first and alone: its CPU build is enough, and a plain resolve would fetch gigabytes of CUDA.
# histolab and lavlab-shell without their dependencies: of the one these are years old, of the other not needed.
$(VENV)/ready: envs/requirements.txt envs/requirements-test.txt pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --upgrade pip
	$(VENV)/bin/pip install --quiet $$(grep '^torch==' envs/requirements.txt) $(TORCH_INDEX)
	grep -vE $(ALONE) envs/requirements.txt | $(VENV)/bin/pip install --quiet -r /dev/stdin -r envs/requirements-test.txt
	$(VENV)/bin/pip install --quiet --no-deps $$(grep -E $(ALONE) envs/requirements.txt)
	$(VENV)/bin/pip install --quiet --no-deps --editable .
	touch $@

# With SLIDES=path/to/slides.tsv: the same on your slides, whole, at low magnification (config/overview.yaml).
RECIPE ?= $(if $(SLIDES),config/overview.yaml,config/config.yaml)
demo: $(VENV)/ready ## slides to report; SLIDES=slides.tsv uses yours, RECIPE=config/x.yaml another recipe
	$(SNAKEMAKE) --cores $(CORES) --configfile $(RECIPE) $(if $(SLIDES),--config 'slides={"table": "$(SLIDES)"}')
	@run=$$(sed -n 's/^run: *//p' $(RECIPE)); echo; \
	echo "Report:          results/$$run/report.html"; \
	for slide in results/$$run/synthetic/*.tif; do echo "Synthetic slide: $$slide  (opens in QuPath)"; done

# With REAL_TISSUE=1: also patches, overlays and all else that shows real tissue.
RUN ?= demo
share: $(VENV)/ready ## a finished run in one file, with checksums and provenance: RUN=demo
	$(VENV)/bin/histogenesis share results/$(RUN) --out $(RUN).crate.zip $(if $(REAL_TISSUE),--with-real-tissue)

BASELINES := bicubic tv-l1 edsr r0 r28-like
baselines: $(VENV)/ready ## config/small.yaml and what it is compared with, side by side in comparison/comparison.html
	$(SNAKEMAKE) --cores $(CORES) --configfile config/small.yaml
	for name in $(BASELINES); do \
	    $(SNAKEMAKE) --cores $(CORES) --configfile config/baselines/$$name.yaml || exit 1; \
	done
	$(VENV)/bin/histogenesis compare results/small $(BASELINES:%=results/baseline-%) --out comparison

GUT := bicubic edsr r0
gut-baselines: $(VENV)/ready ## the models that ship below a real level, and what they are compared with; HISTOGENESIS_SLIDE_ROOT says where the slides are
	$(SNAKEMAKE) --cores $(CORES) --configfile config/pretrained/redraw-gut.yaml
	for name in $(GUT); do \
	    $(SNAKEMAKE) --cores $(CORES) --configfile config/baselines/gut-$$name.yaml || exit 1; \
	done
	$(VENV)/bin/histogenesis compare results/redraw-gut $(GUT:%=results/gut-%) --out gut-comparison

SIDES := harb-demo urcdm-demo outpainting-demo
side-by-side: $(VENV)/ready ## two ways to a gigapixel slide and outpainting, trained as long, in side-by-side/comparison.html
	for name in $(SIDES); do \
	    $(SNAKEMAKE) --cores $(CORES) --configfile config/$$name.yaml || exit 1; \
	done
	$(VENV)/bin/histogenesis compare $(SIDES:%=results/%) --out side-by-side

# Three at a time: SLURM's tests mostly wait; those of the workflow, and of the library with the rest of the workflow's (test_[su]*),
# need one core each and about as long.
PYTEST := OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive $(VENV)/bin/python -m pytest -q -m "not long"
test: $(VENV)/ready ## lint, then all tests but those of test-long
	$(MAKE) --no-print-directory lint
	$(PYTEST) -s tests/slurm > $(VENV)/slurm.log 2>&1 & slurm=$$!; \
	$(PYTEST) tests/workflow/test_[!su]*.py > $(VENV)/workflow.log 2>&1 & workflow=$$!; \
	$(PYTEST) --ignore=tests/slurm --ignore=tests/workflow; library=$$?; \
	$(PYTEST) tests/workflow/test_[su]*.py; rest=$$?; \
	wait $$workflow; workflow=$$?; cat $(VENV)/workflow.log; \
	wait $$slurm; slurm=$$?; cat $(VENV)/slurm.log; exit $$((library + rest + workflow + slurm))

test-slurm: $(VENV)/ready ## the shorter tests on a real SLURM: kills, time limits, a lost node, a site's values; with the table of their jobs
	$(PYTEST) -s tests/slurm

test-long: $(VENV)/ready ## what takes many minutes: environments from envs/*.yaml, damage between steps, modules, crates, planted faults, recipes and reruns on SLURM
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -q -m long

lint: $(VENV)/ready ## ruff, snakefmt, types (mypy), who may import whom (import-linter), snakemake --lint
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/snakefmt --check Snakefile workflow/Snakefile rules
	$(VENV)/bin/mypy
	PYTHONPATH=src $(VENV)/bin/lint-imports
	$(SNAKEMAKE) --lint
