# Everything that a reader or a contributor types. `make` alone lists it.

PROFILE ?= laptop
COHORT ?=
PUBLISHED ?=
IMAGES ?=
RADIOMICS ?=
REFERENCES ?=
CORES ?= $(shell getconf _NPROCESSORS_ONLN)
PORT ?= 8000

# The interpreter that makes .venv; the first of these that is 3.11 or 3.12.
PYTHON ?= $(shell for p in python3 python3.12 python3.11; do $$p -c '$(IS_SUPPORTED)' 2>/dev/null && { echo $$p; break; }; done)
IS_SUPPORTED = import sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))

# VENV=FOLDER on the command line uses an environment that is there (conda's, say) as it is.
ifeq ($(origin VENV),command line)
READY :=
else
override VENV := .venv
READY := .venv/ready
endif
PY := $(VENV)/bin/python

.DEFAULT_GOAL := help
.PHONY: help book serve lab test lint clean
.DELETE_ON_ERROR:

help:
	@echo 'make book     build the book into build/<profile>/html; a rerun does only what changed'
	@echo '                PROFILE=smoke|laptop|study|paper|text  how large (now $(PROFILE))'
	@echo '                COHORT=FOLDER     your knees, laid out as OAIZIB-CM, for the synthetic ones'
	@echo '                IMAGES=yes        show images and values of single knees of your cohort'
	@echo '                PUBLISHED=FOLDER  the paper'"'"'s nine prediction files'
	@echo '                RADIOMICS=FOLDER  radiomics of the same knees, from oacore fetch radiomics'
	@echo '                REFERENCES=FOLDER the real mean knee, from oacore fetch references'
	@echo '                CORES=N           jobs side by side (now $(CORES))'
	@echo 'make serve    show the built book on this machine only (PORT=$(PORT))'
	@echo 'make lab      open the notebooks in JupyterLab'
	@echo 'make test     linters, types, unit tests, the whole smoke build, browser tests'
	@echo 'make lint     linters (of code and of English) and types alone'
	@echo 'make clean    remove all that was built, trained runs too; .venv stays'
	@echo 'PYTHON=python3.12 chooses the interpreter for .venv (3.11 or 3.12);'
	@echo 'VENV=FOLDER uses an environment that has everything, such as conda'"'"'s, instead.'

# Two stamps, each written last: an interrupted install is done again, and a change to
# pyproject.toml does not install 200 packages anew.
.venv/packages: requirements.lock
	@'$(PYTHON)' -c '$(IS_SUPPORTED)' 2>/dev/null || { \
	  echo "This needs Python 3.11 or 3.12, with venv (Debian: apt-get install python3 python3-venv)." >&2; \
	  echo "If it lies elsewhere, name it: make PYTHON=/path/to/python3.12" >&2; exit 1; }
	@echo "Setting up .venv (about two minutes, once)"
	@rm -f .venv/ready .venv/packages
	@'$(PYTHON)' -m venv --clear .venv
	@.venv/bin/python -m pip install --disable-pip-version-check --requirement requirements.lock
	@touch $@

.venv/ready: .venv/packages pyproject.toml
	@.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

book: $(READY)
	@$(PY) -m workflow.make_book --profile '$(PROFILE)' --cohort '$(COHORT)' \
	  --published '$(PUBLISHED)' --radiomics '$(RADIOMICS)' --references '$(REFERENCES)' \
	  --images '$(IMAGES)' --cores '$(CORES)'

serve: $(READY)
	@build="$$($(PY) -m workflow.graph --profile '$(PROFILE)' --cohort '$(COHORT)')" || exit 1; \
	html="$$build/html"; \
	test -f "$$html/index.html" || { \
	  echo "There is no book in $$html yet: make book with the same words" >&2; exit 1; }; \
	echo "The book is at http://127.0.0.1:$(PORT)/ (Ctrl-C ends this)"; \
	exec $(PY) -m http.server --bind 127.0.0.1 --directory "$$html" '$(PORT)'

lab: $(READY)
	@echo 'The chapters read build/laptop; for another build change their first code cell.'
	@exec $(PY) -m jupyterlab --ServerApp.root_dir=. --LabApp.default_url=/lab/tree/notebooks \
	  $(if $(filter 0,$(shell id -u)),--allow-root)

lint: $(READY)
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .
	@$(PY) -m mypy oacore workflow
	@$(PY) -m codespell_lib README.md book notebooks oacore workflow benchmarks
	@$(PY) -m workflow.prose
	@$(VENV)/bin/nbstripout --keep-id --verify notebooks/*.ipynb

test: lint
	@$(PY) -m pytest

clean:
	@rm -rf build .snakemake .pytest_cache .mypy_cache .ruff_cache
