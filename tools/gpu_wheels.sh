#!/bin/sh
# Build a folder of the wheels that a machine with PyTorch and transformers, but without a network, needs to run lrps.
#
#   tools/gpu_wheels.sh DIR [PYTHON_VERSION]        PYTHON_VERSION of that machine, by default 3.12
#
# There:  pip install --no-index --no-deps DIR/*.whl
#
# DeepSpeed is built without its ops, which lrps does not need: a pure Python wheel for any machine. The versions are
# those of constraints.txt. Needs pip with a network, and no GPU.
set -eu

if [ $# -lt 1 ] || [ $# -gt 2 ]; then
    sed -n '2,9s/^# \{0,1\}//p' "$0" >&2
    exit 2
fi
out=$1
python_version=${2:-3.12}
root=$(cd "$(dirname "$0")/.." && pwd)

# NAME==VERSION of a package, as constraints.txt pins it.
pinned() {
    grep -i "^$1==" "$root/constraints.txt" || { echo "constraints.txt: has no version of $1" >&2; exit 1; }
}

mkdir -p "$out"
DS_BUILD_OPS=0 python3 -m pip wheel --quiet --no-deps --no-cache-dir --wheel-dir "$out" "$(pinned deepspeed)"

# What lrps and DeepSpeed import, then what the tests of the engine need.
for name in pydantic pydantic_core annotated-types typing_extensions typing-inspection hjson webdataset braceexpand \
            pytest pytest-timeout pluggy iniconfig pygments hypothesis sortedcontainers filelock; do
    requirement=$(pinned "$name")
    python3 -m pip download --quiet --no-deps --dest "$out" --only-binary :all: \
        --python-version "$python_version" --implementation cp --platform manylinux2014_x86_64 --platform any \
        "$requirement" ||
        python3 -m pip wheel --quiet --no-deps --wheel-dir "$out" "$requirement"
done

# A wheel for another Python or another machine could not be installed there.
tag="cp$(echo "$python_version" | tr -d .)"
for wheel in "$out"/*.whl; do
    case $(basename "$wheel") in
        *-py3-none-any.whl | *-py2.py3-none-any.whl | *-"$tag"-*manylinux*.whl | *-abi3-manylinux*.whl) ;;
        *) echo "$wheel: is not for Python $python_version on Linux" >&2; exit 1 ;;
    esac
done
du -sh "$out"
