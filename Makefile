# Everything runs in .venv, which `make setup` builds from requirements.lock. PYTHON=... chooses its interpreter.

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-slow test-torch test-well test-slurm lint bench lock clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

setup:  ## build .venv, or do nothing while the lock is unchanged
	@tools/setup.sh

# One thread: small networks train several times slower on two that wait for each other.
demo: setup  ## solve, train and compare a small suite; writes report/
	@status=0; OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} .venv/bin/variform bench demo --problem examples/heated_block.py --out report || status=$$?; \
	echo "The report is in $(CURDIR)/report"; exit $$status

# In two processes, of one thread each; JOBS=... takes more.
test: setup  ## the quick tests
	.venv/bin/python -m pytest -m "not slow" -q -n $${JOBS:-2} --dist worksteal

test-slow: setup  ## the tests that take minutes
	.venv/bin/python -m pytest -m slow -q

test-torch: setup  ## the compiler, the batched solver and the networks, where there is no DOLFINx
	@tools/test_torch.sh tests/forms/test_interpret.py tests/forms/test_jets.py tests/forms/test_strong.py \
		tests/solvers/test_batched_linear.py tests/solvers/test_batched_convergence.py \
		tests/solvers/test_spectral.py

test-well: setup  ## The Well's own loader on our files, in an environment of its own
	@tools/test_well.sh

test-slurm: setup  ## training as jobs of a real SLURM on this machine; needs root, slurm-wlm and munge
	@tools/test_slurm.sh

lint: setup  ## formatting, lint rules, and who may import whom
	.venv/bin/ruff format --check
	.venv/bin/ruff check
	@tools/check_imports.sh

bench: setup  ## measure speed
	.venv/bin/python -m variform.benchmarks.speed
	.venv/bin/python -m variform.benchmarks.batched
	.venv/bin/python -m variform.benchmarks.networks
	.venv/bin/python -m variform.benchmarks.flow
	.venv/bin/python -m variform.benchmarks.data

lock:  ## resolve setup.cfg into requirements.lock; LOCK_FLAGS=--upgrade takes the newest versions
	@tools/setup.sh lock $(LOCK_FLAGS)

clean:  ## remove what builds and tests leave; keeps .venv, runs and reports
	rm -rf .lint build dist *.egg-info .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find . -path ./.venv -prune -o -name __pycache__ -type d -exec rm -rf {} +
