# parley's commands: `make demo` and `make test`; knows no compiler flag (CMakeLists.txt) and no package (pyproject.toml).
SHELL := /bin/sh
.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: help demo test lint test-cpp test-python install clean distclean

# Everything runs with the environment's own programs first; paths may hold spaces.
VENV_PATH := PATH="$$PWD/.venv/bin:$$PATH"
CPP_FILES := find cpp kernels tests -name '*.h' -o -name '*.cpp'
BUNDLE_SOURCES := $(shell find export tests/tiny_checkpoint.py -name '*.py')
RECORDINGS := apps/parley_apps/data

help:
	@echo "make demo      install, and answer a recording: leaves sound, text, trace and picture in demo/"
	@echo "make test      install, and run every check: lint, types, C++ with sanitizers, pytest"
	@echo "make install   only the environment in .venv"
	@echo "make lint, make test-cpp, make test-python: the parts of make test"
	@echo "make clean     remove what was built and the demo; make distclean: .venv too"

install:
	@python=$$(.make/check.sh) && exec "$$python" .make/install.py

demo: install demo/bundle/manifest.json
	@echo "== Two recorded questions, answered in turns"
	@$(VENV_PATH) parley talk demo/bundle --mode turns --in $(RECORDINGS)/question.wav \
	  --in $(RECORDINGS)/follow_up.wav --max-new-tokens 200 --out demo/answer.wav \
	  --text demo/transcript.jsonl --trace demo/trace.json --plot demo/timeline.png >demo/summary.txt
	@grep real-time demo/summary.txt
	@echo "== The first question again in full duplex: both may speak at any time"
	@$(VENV_PATH) parley talk demo/bundle --mode duplex --in $(RECORDINGS)/question.wav --seed 5 \
	  --out demo/duplex.wav --plot demo/duplex.png >demo/summary.txt
	@grep real-time demo/summary.txt
	@echo "== Done. The default model has random weights: its speech is noise, all else is real. Look at:"
	@echo "   demo/timeline.png      both waveforms, who has the floor, tokens, each chunk's cost against 160 ms"
	@echo "   demo/answer.wav        what parley said: 24 kHz, 16 bit"
	@echo "   demo/transcript.jsonl  who said what and when, one JSON object a line"
	@echo "   demo/trace.json        every stage of every chunk; opens in ui.perfetto.dev and chrome://tracing"
	@echo "   demo/duplex.png and demo/duplex.wav: the same for full duplex"

demo/bundle/manifest.json: $(BUNDLE_SOURCES) | install
	@echo "== The default bundle: a tiny model with random weights, made and exported here"
	@rm -rf build/demo demo/bundle && mkdir -p build/demo demo
	@$(VENV_PATH) PYTHONPATH=tests python -c "import pathlib, tiny_checkpoint as tiny; \
	  tiny.write_checkpoint(pathlib.Path('build/demo/tiny-noise'))"
	@cp LICENSE build/demo/tiny-noise/
	@$(VENV_PATH) parley export build/demo/tiny-noise --out demo/bundle --duplex

test: install
	@$(MAKE) --no-print-directory lint-only
	@$(MAKE) --no-print-directory test-cpp-only
	@$(MAKE) --no-print-directory test-python-only

lint test-cpp test-python: %: install
	@$(MAKE) --no-print-directory $@-only

lint-only:
	@echo "== lint: ruff, clang-format, mypy"
	@$(VENV_PATH) ruff check -q . && $(VENV_PATH) ruff format -q --check .
	@$(CPP_FILES) | $(VENV_PATH) xargs clang-format --dry-run --Werror
	@$(VENV_PATH) mypy
	@echo "   all clean"

test-cpp-only:
	@echo "== C++ tests under AddressSanitizer and UndefinedBehaviorSanitizer"
	@$(VENV_PATH) cmake -S . -B build/sanitize -G Ninja -DCMAKE_BUILD_TYPE=Debug -DCMAKE_CXX_FLAGS=-O1 \
	  -DPARLEY_TESTS=ON -DPARLEY_PYTHON=OFF -DPARLEY_SANITIZE=address,undefined \
	  -DPython_EXECUTABLE="$$PWD/.venv/bin/python" >build/log/sanitize.log \
	  || { tail -n 15 build/log/sanitize.log; echo "the whole output is in build/log/sanitize.log"; exit 1; }
	@$(VENV_PATH) ninja -C build/sanitize --quiet
	@$(VENV_PATH) ctest --test-dir build/sanitize --output-on-failure --no-tests=error -j 2

test-python-only:
	@echo "== pytest"
	@$(VENV_PATH) OMP_NUM_THREADS=1 python -m pytest

clean:
	rm -rf build demo .pytest_cache .mypy_cache .ruff_cache

distclean: clean
	rm -rf .venv
