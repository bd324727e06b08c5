#!/bin/sh
# Run one part of the check on a rented GPU: sh tests/gpu/start.sh smoke|figures --out FOLDER [--device cpu] [...]
# Packages that the machine lacks lie as wheels in .gpu/ (python -m tests.gpu.travel pack); it needs no network.
cd "$(dirname "$0")/../.." || exit
if ls .gpu/*.whl >/dev/null 2>&1; then
    "${PYTHON:-python3}" -m pip install -q --no-index --no-deps --no-compile --no-cache-dir --upgrade --target .site .gpu/*.whl || exit
    export PYTHONPATH="$PWD/.site${PYTHONPATH:+:$PYTHONPATH}"
fi
export PYTHONUNBUFFERED=1
exec "${PYTHON:-python3}" tests/gpu/calls.py "$@"
