#!/usr/bin/env bash
# What can be shown only where a GPU is: tools/gpu_check.sh FOLDER [--only SECTION ...] [--without CHECK ...]
#
# Runs on any machine with a clone and a python3 (PYTHON=/path/to/another) that has NumPy, OpenCV and psutil; PyTorch,
# ONNX Runtime, TensorRT, nvidia-ml-py and CuPy are checked where they are installed, and said to be missing where not.
# It writes results.json and page.md into FOLDER, takes four to nine minutes on a GPU, and changes no setting of it. The
# exit status is 1 where a check went wrong, 2 where it cannot run.
set -euo pipefail
[[ $# -ge 1 ]] || { sed -n '2,8s/^# \{0,1\}//p' "$0"; exit 2; }
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
python=${PYTHON:-python3}
for module in numpy:numpy cv2:opencv-python-headless psutil:psutil; do
    "$python" -c "import ${module%:*}" 2>/dev/null ||
        { echo "gpu_check: $python has no ${module%:*}: $python -m pip install ${module#*:}" >&2; exit 2; }
done
export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}" PYTHONDONTWRITEBYTECODE=1
exec "$python" -m perf_inference.bench.gpu_check "$@"
