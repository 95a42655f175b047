# make run    install, fetch the embedded weights, run the main job on real weights and documents
# make test   the tests          make check  what must be green before a commit          make bench  the targets
# make litellm   the API backends' contract with litellm and openai 2.x, in an environment of its own
# make hf        the transformers backend on CPU, its tests and those on real weights, in an environment of its own
# make inspect   the import of Inspect's logs with inspect_ai itself, in an environment of its own
.PHONY: run test check bench slow clean lock litellm inspect hf
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
LIMIT ?= 12
unexport PYTHONDONTWRITEBYTECODE

run: $(VENV)/.local
	$(BIN)/python -m evals run -m task=legal_extract model=rules,smollm2_135m limit=$(LIMIT)

test: $(VENV)/.installed
	$(BIN)/python -m pytest -n 3 --dist worksteal

slow: $(VENV)/.local
	$(BIN)/python -m pytest -m slow

check: $(VENV)/.installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -n 3 --dist worksteal

bench: $(VENV)/.local
	for script in benchmarks/*.py; do echo "== $$script"; $(BIN)/python $$script || exit 1; done

lock: $(VENV)/.installed
	$(BIN)/python -m pip freeze --exclude-editable | grep -v '^llama_cpp_python' > requirements.lock

$(VENV)/.installed: pyproject.toml requirements.lock
	@echo "installing into $(VENV) (one to three minutes the first time)"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=24'
	$(BIN)/python -m pip install --progress-bar on -c requirements.lock -e '.[dev,hub]'
	@touch $@

$(VENV)/.local: $(VENV)/.installed
	$(BIN)/python -m evals models fetch=smollm2_135m
	$(BIN)/python -m evals.models.llama_build
	$(BIN)/python -m pip install --quiet -c requirements.lock -e '.[local]'
	@touch $@

litellm: $(VENV)-litellm/.installed
	PYTHONPATH=. $(VENV)-litellm/bin/python -m pytest tests/models/test_openai.py tests/models/test_litellm.py

$(VENV)-litellm/.installed: pyproject.toml requirements-litellm.lock
	$(PYTHON) -m venv $(VENV)-litellm
	$(VENV)-litellm/bin/python -m pip install --quiet --upgrade 'pip>=24'
	$(VENV)-litellm/bin/python -m pip install --progress-bar on -r requirements-litellm.lock
	@touch $@

hf: $(VENV)-hf/.local
	PYTHONPATH=. $(VENV)-hf/bin/python -m pytest -m 'slow or not slow' tests/models/test_hf.py tests/models/test_hf_real.py

$(VENV)-hf/.installed: pyproject.toml requirements-hf.lock
	$(PYTHON) -m venv $(VENV)-hf
	$(VENV)-hf/bin/python -m pip install --quiet --upgrade 'pip>=24'
	$(VENV)-hf/bin/python -m pip install --progress-bar on -r requirements-hf.lock
	$(VENV)-hf/bin/python -m pip install --quiet --no-deps -e .
	@touch $@

$(VENV)-hf/.local: $(VENV)-hf/.installed
	$(VENV)-hf/bin/python -m evals models fetch=smollm2_135m
	$(VENV)-hf/bin/python -m evals.models.llama_build
	@touch $@

inspect: $(VENV)-inspect/.installed
	PYTHONPATH=. $(VENV)-inspect/bin/python -m pytest tests/harnesses tests/commands/test_import.py

$(VENV)-inspect/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)-inspect
	$(VENV)-inspect/bin/python -m pip install --quiet --upgrade 'pip>=24'
	$(VENV)-inspect/bin/python -m pip install --progress-bar on -e '.[inspect]' 'pytest>=8.3' 'hypothesis>=6.100'
	@touch $@

clean:
	rm -rf $(VENV) $(VENV)-litellm $(VENV)-inspect $(VENV)-hf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
