"""One thread: tests are small, and threads that wait for a busy core made the trained networks 20 times slower."""

import os

os.environ["OMP_NUM_THREADS"] = "1"  # read when NumPy, torch and PETSc load; subprocesses inherit it
