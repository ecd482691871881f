#!/usr/bin/env bash
# Make .venv-lerobot: LeRobot 0.4.4 on Python 3.11, for `make prove PROVE=lerobot`. PYTHON=/path/to/python3.11
set -euo pipefail
cd "$(dirname "$0")/.."
venv=.venv-lerobot
if "$venv/bin/python" -I -c "import lerobot, torchvision" 2>/dev/null; then exit 0; fi
python=${PYTHON:-$(command -v python3.11 || true)}
[ -n "$python" ] || { echo "setup: LeRobot 0.4.4 needs Python 3.11; set PYTHON=/path/to/one" >&2; exit 1; }
echo "setup: making $venv with LeRobot (2 GB, some minutes)"
"$python" -m venv "$venv"
pip="$venv/bin/pip install --quiet"
$pip torch==2.13.0 'numpy<2.3' 'setuptools<81'
$pip --no-deps lerobot==0.4.4 torchvision==0.28.0
$pip draccus==0.10.0 einops 'huggingface-hub<0.36' safetensors pillow gymnasium termcolor deepdiff jsonlines 'datasets<5' \
    'numpy<2.3'
$pip --no-deps accelerate psutil 'av<16' 'diffusers<0.36' imageio 'opencv-python-headless<4.13' 'pyserial<4'
$pip 'transformers>=4.57.1,<5' 'huggingface-hub<0.36' num2words 'numpy<2.3'
# torchvision's kernels may be for another build of PyTorch than the one here: its import then wants their names alone
site=$("$venv/bin/python" -c "import site; print(site.getsitepackages()[0])")
cat > "$site/torchvision_names.py" <<'PY'
import importlib.abc
import sys


class Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name == "torchvision":
            sys.meta_path.remove(self)
            import torch

            self.library = torch.library.Library("torchvision", "DEF")
            sys.torchvision_names = self
            self.library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
            self.library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")


PY
cat >> "$site/torchvision_names.py" <<'PY'
sys.meta_path.insert(0, Finder())
PY
if ! "$venv/bin/python" -I -c "import torchvision" 2>/dev/null; then
    echo "import torchvision_names" > "$site/torchvision_names.pth"
fi
"$venv/bin/python" -I -c "import lerobot, torchvision"
