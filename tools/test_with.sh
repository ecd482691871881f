#!/usr/bin/env bash
# The tests in another environment: tools/test_with.sh jazzy|310 [pytest arguments]
#
# jazzy: all tests on Jazzy's rclpy wheels (Python 3.12, x86-64). 310: what needs no ROS, on Python 3.10, which Humble has.
# Each has a .venv-NAME of its own, made once. Where there is no such Python, it says so and ends with status 0.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

name=$1
shift
case $name in
    jazzy) version=3.12 extra=standalone-jazzy selected="not long and not torch" ;;
    310) version=3.10 extra=without-ros selected="not long and not torch and not process" ;;
    *) echo "usage: tools/test_with.sh jazzy|310 [pytest arguments]" >&2; exit 2 ;;
esac

export PIP_USER=no PIP_REQUIRE_VIRTUALENV=no PIP_DISABLE_PIP_VERSION_CHECK=1
unset VIRTUAL_ENV PYTHONHOME PYTHONPATH ROS_DISTRO _ROS_WHEELS_BOOTSTRAP_COMPLETE

say() { echo "test-$name: $*"; }

find_python() {
    local candidate
    for candidate in "${PYTHON:-}" "python$version" "$HOME"/.pyenv/versions/"$version".*/bin/python \
        "$HOME"/.local/share/uv/python/cpython-"$version".*/bin/python3; do
        if [[ -n $candidate ]] && "$candidate" -c "import sys, ensurepip; sys.exit('%d.%d' % sys.version_info[:2] != '$version')" 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
}

python=$(find_python)
if [[ -z $python ]]; then
    say "not run, for there is no Python $version here with venv; PYTHON=/path/to/python$version names one"
    exit 0
fi
if [[ $name == jazzy && $(uname -s)-$(uname -m) != Linux-x86_64 ]]; then
    say "not run, for there are no rclpy wheels for $(uname -s) on $(uname -m)"
    exit 0
fi

venv=.venv-$name
given=$(cat setup.py setup.cfg tools/test_with.sh | cksum)
if [[ ! -f $venv/.ready || $(<"$venv/.ready") != "$given" ]]; then
    if [[ ! -x $venv/bin/python ]]; then
        say "making $venv with Python $version (once) ..."
        "$python" -m venv "$venv"
    fi
    say "installing what the tests need, about 300 MB (a minute or two) ..."
    "$venv/bin/python" -m pip install -qq "setuptools>=78.1.1,<80"
    "$venv/bin/python" -m pip install -qq --no-build-isolation --editable ".[$extra,cpu,test]"
    echo "$given" >"$venv/.ready"
fi

say "$("$venv/bin/python" --version): pytest -m '$selected'"
exec "$venv/bin/python" -m pytest -n "${WORKERS:-2}" --dist worksteal -m "$selected" "$@"
