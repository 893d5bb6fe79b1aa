# Everything that a reader or a contributor types. `make` alone lists it.

PROFILE ?= laptop
COHORT ?=
PUBLISHED ?=
IMAGES ?=
RADIOMICS ?=
REFERENCES ?=
RADIOGRAPHS ?=
CORES ?=
FETCH ?=
PORT ?= 8000
PYTHON ?=

# VENV=FOLDER on the command line uses an environment that is there (conda's, say) as it is.
ifeq ($(origin VENV),command line)
override READY :=
else
override VENV := .venv
override READY := .venv/ready
endif

# A folder may bear any name. So each word is kept as it was typed, without make's own reading of
# $, and recipes find it in their environment: no word is ever a part of a recipe's text.
WORDS := PROFILE COHORT PUBLISHED IMAGES RADIOMICS REFERENCES RADIOGRAPHS FETCH CORES PORT PYTHON VENV
$(foreach word,$(WORDS),$(eval override $(word) := $$(value $(word))))
export $(WORDS)

override PY := "$$VENV/bin/python"
override IS_SUPPORTED := import sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))

.DEFAULT_GOAL := help
.PHONY: help book serve lab test lint check-build gpu-check clean
.DELETE_ON_ERROR:

help:
	@echo 'make book     build the book into build/<profile>/html; a rerun does only what changed'
	@printf '                PROFILE=smoke|laptop|record|study|paper|text  how large (now %s)\n' "$$PROFILE"
	@echo '                COHORT=FOLDER     your knees, laid out as OAIZIB-CM, for the synthetic ones'
	@echo '                IMAGES=yes        show images and values of single knees of your own'
	@echo '                PUBLISHED=FOLDER  the paper'"'"'s nine prediction files'
	@echo '                RADIOMICS=FOLDER  radiomics of the same knees, from oacore fetch radiomics'
	@echo '                REFERENCES=FOLDER the real mean knee, from oacore fetch references'
	@echo '                RADIOGRAPHS=PLACE  real radiographs, a folder or zip, for the drawn ones'
	@echo '                ARMS=main|all|NAMES  train arms of the experiment on hierarchy on these knees'
	@echo '                FETCH=yes|no      get what of these is public and missing, or do not ask'
	@printf '                CORES=N           jobs side by side (now %s)\n' \
	  "$${CORES:-as many as processors}"
	@printf 'make serve    show the built book on this machine only (PORT=%s)\n' "$$PORT"
	@echo 'make lab      open the notebooks in JupyterLab'
	@echo 'make test     linters, types, unit tests, the whole smoke build, browser tests'
	@echo 'make lint     linters (of code, of English, of typed findings) and types alone'
	@echo 'make check-build  whether all of a build is still what was written, byte for byte'
	@echo 'make gpu-check    tests, speed and a short run of each backbone on a GPU, in eight minutes'
	@echo 'make clean    remove all that was built, trained runs too; .venv stays'
	@echo 'PYTHON=python3.12 chooses the interpreter for .venv (3.11 or 3.12);'
	@echo 'VENV=FOLDER uses an environment that has everything, such as conda'"'"'s, instead.'

# Two stamps, each written last: an interrupted install is done again, and a change to
# pyproject.toml does not install 200 packages anew. Python compiles the modules that it loads; pip
# would compile all of them, which is most of its time. Where Python may not keep what it compiles,
# pip does it.
.venv/packages: requirements.lock
	@found=; set -- python3 python3.12 python3.11; test -z "$$PYTHON" || set -- "$$PYTHON"; \
	for python; do "$$python" -c '$(IS_SUPPORTED)' 2>/dev/null && found="$$python" && break; done; \
	test -n "$$found" || { \
	  echo "This needs Python 3.11 or 3.12, with venv (Debian: apt-get install python3 python3-venv)." >&2; \
	  echo "If it lies elsewhere, name it: make PYTHON=/path/to/python3.12" >&2; exit 1; }; \
	echo "Setting up .venv (a minute or two, once)"; \
	rm -f .venv/ready .venv/packages; \
	"$$found" -m venv --clear .venv
	@.venv/bin/python -m pip install --disable-pip-version-check \
	  $(if $(PYTHONDONTWRITEBYTECODE),,--no-compile) --requirement requirements.lock
	@touch $@

.venv/ready: .venv/packages pyproject.toml
	@.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

book: $(READY)
	@$(PY) -m workflow.make_book --profile="$$PROFILE" --cohort="$$COHORT" \
	  --published="$$PUBLISHED" --radiomics="$$RADIOMICS" --references="$$REFERENCES" \
	  --radiographs="$$RADIOGRAPHS" --images="$$IMAGES" --arms="$$ARMS" --fetch="$$FETCH" \
	  --cores="$$CORES"

serve: $(READY)
	@exec $(PY) -m workflow.serve --profile="$$PROFILE" --cohort="$$COHORT" --port="$$PORT"

lab: $(READY)
	@echo 'The chapters read build/laptop; for another build change their first code cell.'
	@echo 'What they keep goes to by-hand/ of that build: the results of make book stay as they are.'
	@exec $(PY) -m jupyterlab --ServerApp.root_dir=. --LabApp.default_url=/lab/tree/notebooks \
	  $(if $(filter 0,$(shell id -u)),--allow-root)

check-build: $(READY)
	@exec $(PY) -m workflow.check_build --profile="$$PROFILE" --cohort="$$COHORT"

gpu-check: $(READY)
	@exec $(PY) -m benchmarks.gpu_check

lint: $(READY)
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .
	@$(PY) -m mypy oacore workflow
	@$(PY) -m codespell_lib README.md book notebooks oacore workflow benchmarks
	@$(PY) -m workflow.prose
	@$(PY) -m workflow.findings
	@"$$VENV/bin/nbstripout" --keep-id --verify notebooks/*.ipynb

# Two processes, each with one thread: tests/conftest.py says which takes what.
test: lint
	@OMP_NUM_THREADS=1 $(PY) -m pytest --numprocesses=2 --dist=loadscope --no-loadscope-reorder \
	  --durations=30 --durations-min=5

# Where there is no Python, no build can be at work.
clean:
	@for python in $(PY) "$$PYTHON" python3; do \
	  if "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 8))' 2>/dev/null; then \
	    exec "$$python" -m workflow.lock; fi; \
	done; \
	rm -rf build .snakemake .pytest_cache .mypy_cache .ruff_cache
