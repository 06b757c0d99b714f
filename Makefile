# parley's commands, above all `make demo` and `make test`; knows no compiler flag (CMakeLists.txt) and no package (pyproject.toml).
SHELL := /bin/sh
.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: help demo wheel test-wheels clients nano eval bench quantized dev format golden test lint test-cpp test-python install \
  install-demo clean distclean

# Everything runs with the environment's own programs first; paths may hold spaces.
VENV_PATH := PATH="$$PWD/.venv/bin:$$PATH"
CPP_FILES := find cpp kernels tests -name '*.h' -o -name '*.hpp' -o -name '*.cpp'
RECORDINGS := apps/parley_apps/data

help:
	@echo "make demo      install what that needs, and hold a conversation: leaves sound, text, trace and picture in demo/"
	@echo "make test      install the rest, and run every check: lint, types, C++ with sanitizers, pytest"
	@echo "make nano      train the small model that ships anew, with the speech it learns from (seven hours)"
	@echo "make eval      how nano behaves in scenarios made for it; LIMIT=50 takes 50 of each kind"
	@echo "make quantized what quantization does to nano, stage by stage and type by type; LIMIT=50 likewise"
	@echo "make bench     measure everything anew and write BENCHMARKS.md: about an hour, 12 GB in ~/.cache/parley"
	@echo "make install   only the environment in .venv"
	@echo "make wheel     wheels for every Linux since 2018, in dist/: parley and parley-llama"
	@echo "make dev       build what changed in this tree, and run the tests in T=tests/runtime, say"
	@echo "make format    put all sources into shape; make golden: write the golden numbers anew"
	@echo "make test-wheels  these in empty environments: no compiler, old processors, lowest and newest ONNX Runtime"
	@echo "make sdk       libparley, its C header, the libraries, nano and licences in one archive, for programs without Python"
	@echo "make lint, make test-cpp, make test-python: the parts of make test"
	@echo "make clients   stock voice clients, each installed in build/clients (1 GB), talk with parley serve nano"
	@echo "make clean     remove what was built and the demo; make distclean: trainings and .venv too"

install:
	@python=$$(.make/check.sh) && exec "$$python" .make/install.py all

install-demo:
	@python=$$(.make/check.sh) && exec "$$python" .make/install.py demo

wheel:
	@python=$$(.make/check.sh) && exec "$$python" .make/install.py wheels

# The wheels without a compiler, on old processors, and with the lowest and the newest ONNX Runtime.
test-wheels: install wheel
	@$(VENV_PATH) OMP_NUM_THREADS=1 python -m pytest tests/test_wheels.py
	@.make/versions.sh

sdk: install
	@$(VENV_PATH) python .make/sdk.py
	@$(VENV_PATH) OMP_NUM_THREADS=1 python -m pytest tests/test_sdk.py

demo: install-demo
	@echo "== A recorded user talks with nano in full duplex: both may speak at any time"
	@mkdir -p demo
	@$(VENV_PATH) parley talk nano --in $(RECORDINGS)/conversation.wav --out demo/answer.wav \
	  --text demo/transcript.jsonl --trace demo/trace.json --plot demo/timeline.png >demo/summary.txt
	@grep -v '^[a-z]* *demo/' demo/summary.txt
	@echo "== Done. Look at:"
	@echo "   demo/timeline.png      both waveforms, who has the floor, tokens, each chunk's cost against 160 ms"
	@echo "   demo/answer.wav        what nano said, 24 kHz, 16 bit; $(RECORDINGS)/conversation.wav is the user"
	@echo "   demo/transcript.jsonl  who said what and when, one JSON object a line"
	@echo "   demo/trace.json        every stage of every chunk; opens in ui.perfetto.dev and chrome://tracing"

# Everything of nano's recipe can be stopped; what is finished is not done again.
nano: install
	@$(VENV_PATH) sh -c 'cd models/nano && python -m train recipe'
	@$(MAKE) --no-print-directory install
	@echo "== Done: models/nano/bundle is new and installed; make demo and make eval use it"

eval: install build/nano/scenarios/.made
	@$(VENV_PATH) parley eval duplex nano --scenarios build/nano/scenarios $(LIMIT:%=--limit %) \
	  --plot build/nano/behaviour.png --save build/nano/behaviour.json

bench: install
	@$(VENV_PATH) parley bench report --run all

# From the trainings in build/nano, or from the weights that ship where there are none.
quantized: install build/nano/scenarios/.made
	@$(VENV_PATH) parley eval quantization models/nano/bundle --scenarios build/nano/scenarios \
	  --work build/nano/quantized --plot build/nano/quantized.png $(LIMIT:%=--scenario-limit %)

build/nano/scenarios/.made: | install
	@echo "== Held-out scenarios, about 6 hours of speech by espeak-ng and flite; festival too if it is there"
	@$(VENV_PATH) sh -c 'cd models/nano && python -m train bank && \
	  python -m train scenarios $$(command -v festival >/dev/null && echo --festival 200)'
	@touch $@

# The inner loop, in this tree and not in what is installed: T names tests, or a part of C++ ones' names.
TREE := OMP_NUM_THREADS=1 PYTHONPATH="$$PWD/runtime:$$PWD/export:$$PWD/apps:$$PWD/tests:$$PWD/tests/export"
T ?= tests/runtime
dev:
	@test -f build/dev/build.ninja || $(VENV_PATH) cmake -S . -B build/dev -G Ninja -DPARLEY_TESTS=ON \
	  -DCMAKE_BUILD_TYPE=RelWithDebInfo -DPython_EXECUTABLE="$$PWD/.venv/bin/python"
	@case "$(T)" in \
	  tests/cpp*) name=$$(basename "$(T)" .cpp); test "$$name" = cpp && name=.; \
	    $(VENV_PATH) ninja -C build/dev --quiet && \
	    $(VENV_PATH) $(TREE) ctest --test-dir build/dev --output-on-failure --no-tests=error -j 2 -R "$$name" ;; \
	  *) $(VENV_PATH) ninja -C build/dev --quiet _core parley_ops && \
	    $(VENV_PATH) $(TREE) python -m pytest $(T) ;; \
	esac

# Packages of others, from their registries, into build/clients; docs/clients.md is what came of it.
clients: install
	@$(VENV_PATH) OMP_NUM_THREADS=1 python tests/clients/run.py

format:
	@$(VENV_PATH) ruff check --fix -q . && $(VENV_PATH) ruff format -q .
	@$(CPP_FILES) | $(VENV_PATH) xargs clang-format -i

# REFERENCE names what the published code computed, where that is to be taken anew too.
golden:
	@$(VENV_PATH) $(TREE) python tests/export/make_golden.py $(REFERENCE)
	@$(VENV_PATH) $(TREE) python tests/nano/bundle_run.py

test: install
	@$(MAKE) --no-print-directory lint-only
	@$(MAKE) --no-print-directory clang-only
	@$(MAKE) --no-print-directory test-cpp-only
	@$(MAKE) --no-print-directory test-python-only

lint test-cpp test-python: %: install
	@$(MAKE) --no-print-directory $@-only

lint-only:
	@echo "== lint: ruff, clang-format, mypy, stubtest"
	@$(VENV_PATH) ruff check -q . && $(VENV_PATH) ruff format -q --check .
	@$(CPP_FILES) | $(VENV_PATH) xargs clang-format --dry-run --Werror
	@$(VENV_PATH) mypy
	@$(VENV_PATH) python tests/check_stubs.py
	@echo "   all clean"

# make install takes the usual compiler; clang sees the library's sources here, and warns as an error. Nothing is
# linked and nothing optimised: a clang of ziglang's would first compile its libc++.
clang-only:
	@options=$$(.make/clang.sh); \
	echo "== the C++ library by clang ($$options)"; mkdir -p build/log; \
	$(VENV_PATH) cmake -S . -B build/clang -G Ninja $$options -DCMAKE_BUILD_TYPE=Debug -DCMAKE_CXX_FLAGS=-Werror \
	  -DCMAKE_CXX_FLAGS_DEBUG=-O0 -DCMAKE_TRY_COMPILE_TARGET_TYPE=STATIC_LIBRARY -DPARLEY_PYTHON=OFF \
	  -DPARLEY_INSTALL=OFF -DPython_EXECUTABLE="$$PWD/.venv/bin/python" >build/log/clang.log && \
	$(VENV_PATH) ninja -C build/clang --quiet parley_core parley_bench && echo "   no warning"

test-cpp-only:
	@echo "== C++ tests under AddressSanitizer and UndefinedBehaviorSanitizer"
	@$(VENV_PATH) cmake -S . -B build/sanitize -G Ninja -DCMAKE_BUILD_TYPE=Debug -DCMAKE_CXX_FLAGS=-O1 \
	  -DPARLEY_TESTS=ON -DPARLEY_PYTHON=OFF -DPARLEY_SANITIZE=address,undefined \
	  -DPython_EXECUTABLE="$$PWD/.venv/bin/python" >build/log/sanitize.log \
	  || { tail -n 15 build/log/sanitize.log; echo "the whole output is in build/log/sanitize.log"; exit 1; }
	@$(VENV_PATH) ninja -C build/sanitize --quiet
	@$(VENV_PATH) ctest --test-dir build/sanitize --output-on-failure --no-tests=error -j 2

test-python-only:
	@.make/browser.sh install
	@echo "== pytest"
	@$(VENV_PATH) OMP_NUM_THREADS=1 python -m pytest

# Speech and trainings in build/nano take hours to make: only distclean removes them.
clean:
	if [ -d build ]; then find build -mindepth 1 -maxdepth 1 ! -name nano -exec rm -rf {} +; fi
	rm -rf demo dist .pytest_cache .mypy_cache .ruff_cache

distclean: clean
	rm -rf build .venv
