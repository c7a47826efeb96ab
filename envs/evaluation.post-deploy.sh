#!/usr/bin/env bash
# Written by envs/update.py. conda cannot ask pip for a package without its dependencies.
set -euo pipefail
python -m pip install --no-deps lavlab-shell==0.9.1
