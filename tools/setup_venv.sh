#!/usr/bin/env bash
# Make .venv, once: tools/setup_venv.sh [test|torch]
#
# What running needs comes first; `test` adds what building and testing need, `torch` PyTorch besides.
# With a ROS 2 sourced, .venv sees the system's packages (rclpy, OpenCV, NumPy) and adds what rosdep lacks; without one,
# rclpy comes as wheels. .venv/.ready is written last: a .venv without it is half made, and is made again.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

torch_version=2.13.0
export PIP_USER=no PIP_REQUIRE_VIRTUALENV=no PIP_DISABLE_PIP_VERSION_CHECK=1
unset VIRTUAL_ENV PYTHONHOME _ROS_WHEELS_BOOTSTRAP_COMPLETE

say() { echo "setup: $*"; }
die() { echo "setup: $*" >&2; exit 1; }

# What .venv is of (another one replaces it), and what it was given (a change is installed into it).
identity="${ROS_DISTRO:-wheels} $PWD"
given=$(cat setup.py setup.cfg constraints-ros.txt tools/setup_venv.sh | cksum)

python_of() {  # python_of COMMAND: "major.minor ensurepip? rclpy? path", nothing where it does not run
    "$1" -c '
import sys
def has(name):
    try:
        __import__(name)
    except ImportError:
        return "no"
    return "yes"
print("%d.%d" % sys.version_info[:2], has("ensurepip"), has("rclpy"), getattr(sys, "_base_executable", sys.executable))
' 2>/dev/null || true
}

find_python() {  # sets python and version, or ends with one sentence that says what is missing
    local candidates=() candidate pip rclpy path seen="" without_pip=""
    if [[ -n ${PYTHON:-} ]]; then
        candidates=("$PYTHON")
    elif [[ -n ${ROS_DISTRO:-} ]]; then
        mapfile -t candidates < <(type -aP python3; echo /usr/bin/python3)
    else
        mapfile -t candidates < <(type -aP python3.12 python3.11 python3)
    fi
    for candidate in "${candidates[@]}"; do
        version="" pip="" rclpy="" path=""
        read -r version pip rclpy path < <(python_of "$candidate") || continue
        seen+="${seen:+, }$version"
        if [[ -n ${ROS_DISTRO:-} ]]; then
            [[ $rclpy == yes ]] || continue
        else
            [[ $version == 3.11 || $version == 3.12 ]] || continue
        fi
        if [[ $pip == no ]]; then without_pip=$version; continue; fi
        python=$path
        return
    done
    [[ -z $without_pip ]] || die "Python $without_pip cannot make virtual environments: apt install python3-venv (or python$without_pip-venv), then run this again."
    [[ -z ${ROS_DISTRO:-} ]] || die "no python3 that imports rclpy of ROS 2 $ROS_DISTRO (tried: ${seen:-none that runs}): source its setup.bash, or set PYTHON=/path/to/its/python3."
    [[ -z ${PYTHON:-} ]] || die "PYTHON=$PYTHON is not a Python 3.11 or 3.12 (found: ${seen:-nothing that runs})."
    die "Python 3.11 or 3.12 is needed (found: ${seen:-none that runs}): apt install python3.11 python3.11-venv, or set PYTHON=/path/to/python3.12, or source a ROS 2 installation and run this again."
}

pip_install() {  # pip_install REQUIREMENT...: from what is there already, or else from the package index
    local constraint=()
    [[ -z ${ROS_DISTRO:-} ]] || constraint=(--constraint constraints-ros.txt)
    .venv/bin/python -m pip install -qq --no-index --no-build-isolation "${constraint[@]}" "$@" 2>/dev/null ||
        .venv/bin/python -m pip install -qq --no-build-isolation "${constraint[@]}" "$@"
}

is_ready() { [[ -f .venv/.ready && $(sed -n 1p .venv/.ready) == "$identity" ]] && .venv/bin/python -c "" 2>/dev/null; }
is_current() { is_ready && [[ $(sed -n 2p .venv/.ready) == "$given" ]]; }

is_as_asked() {  # with PYTHON given: is .venv of that one?
    [[ -z ${PYTHON:-} ]] && return
    local asked
    asked=$(python_of "$PYTHON")
    [[ -z $asked || ${asked##* } == "$(.venv/bin/python -c 'import sys; print(sys._base_executable)')" ]]
}

restore() {  # on failure or interruption: no half-made .venv stays, and one that was ready comes back
    local status=$?
    trap - EXIT INT TERM HUP
    if [[ -n ${making:-} ]]; then
        rm -rf .venv
        [[ ! -d .venv.old ]] || { mv .venv.old .venv; kept=yes; }
        say "stopped before the end; the half-made .venv is removed${kept:+, the one before it is back}. Run the same command again." >&2
    fi
    exit "$status"
}

make_venv() {
    local package=".[standalone]" system=()
    if [[ -n ${ROS_DISTRO:-} ]]; then
        package=".[view,build]"
        system=(--system-site-packages)
    elif [[ $(uname -s)-$(uname -m) != Linux-x86_64 ]]; then
        die "there are no rclpy wheels for $(uname -s) on $(uname -m): source a ROS 2 installation (. /opt/ros/DISTRO/setup.bash) and run this again."
    fi
    if is_ready && is_as_asked; then
        say "the requirements have changed: bringing .venv up to date ..."
    else
        find_python
        say "1/3 making .venv with Python $version${ROS_DISTRO:+ on ROS 2 $ROS_DISTRO} (once) ..."
        rm -rf .venv.old
        [[ ! -f .venv/.ready ]] || mv .venv .venv.old
        rm -rf .venv
        making=yes
        "$python" -m venv "${system[@]}" .venv
        say "2/3 installing the requirements, about 180 MB (a minute) ..."
    fi
    pip_install "setuptools>=78.1.1,<80"
    # ONNX Runtime for the CPU, where none is there: beside a build for a GPU it would take its place.
    pip_install --editable "$package"
    .venv/bin/python -c "import onnxruntime" 2>/dev/null || pip_install --editable ".[cpu]"
    rm -f .venv/.with-tests # they may need something else now
    say "3/3 looking whether it all imports ..."
    .venv/bin/python -c "import cv2, mcap, numpy, onnxruntime, orjson, psutil, rclpy, rich, rosbags, sensor_msgs.msg, yaml"
    printf '%s\n' "$identity" "$given" >.venv/.ready
    making=""
    rm -rf .venv.old
    say "done."
}

add_tests() {
    [[ ! -f .venv/.with-tests ]] || return 0
    say "adding what building and testing need, about 160 MB (once) ..."
    pip_install --editable ".[test,dev]"
    touch .venv/.with-tests
    say "done."
}

add_torch() {
    [[ ! -f .venv/.torch-$torch_version-transformers ]] || return 0
    say "installing torch $torch_version into .venv (once; some hundred MB) ..."
    pip_install "torch==$torch_version" --editable ".[torch,transformers,audio]"
    touch ".venv/.torch-$torch_version-transformers"
    say "done."
}

wanted=${1:-}
is_complete() {
    [[ -z $wanted || -f .venv/.with-tests ]] && [[ $wanted != torch || -f .venv/.torch-$torch_version-transformers ]]
}

if ! is_current || ! is_as_asked || ! is_complete; then
    exec 9<setup.py
    flock 9 2>/dev/null || true # another make in this folder may be at it
    trap restore EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
    if [[ -d .venv.old && ! -f .venv/.ready ]]; then rm -rf .venv && mv .venv.old .venv; fi # killed, last time
    { is_current && is_as_asked; } || make_venv
    [[ -z $wanted ]] || add_tests
    [[ $wanted != torch ]] || add_torch
fi
