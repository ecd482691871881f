"""Old paths of modules that have moved: they work for this release, with a DeprecationWarning, and go with the next."""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType
from typing import Any

_PACKAGE = "perf_inference."
MOVED = {
    "building": "model_build",
    "building.allowed": "model_build.allowed_models",
    "building.cache": "model_build.cache",
    "building.calibration": "model_build.converters.calibration",
    "building.checking": "model_build.preflight",
    "building.content": "model_build.content",
    "building.device": "model_build.machine",
    "building.difference": "model_build.trial.difference",
    "building.export": "model_build.converters.checkpoint",
    "building.magic": "model_build.file_check",
    "building.making": "model_build.recipe",
    "building.onnx_precision": "model_build.converters.onnx_precision",
    "building.openvino": "model_build.converters.openvino",
    "building.ownership": "model_build.ownership",
    "building.picture": "model_build.converters.image_input",
    "building.precision": "model_build.precision",
    "building.preparing": "model_build.preparation",
    "building.private_copy": "model_build.private_copy",
    "building.proving": "model_build.trial.record",
    "building.pruning": "model_build.converters.pruning",
    "building.sources": "model_build.plan",
    "building.tensorrt": "model_build.converters.tensorrt",
    "building.trial": "model_build.trial.trial",
    "building.trial_process": "model_build.trial.child",
    "child_process": "bringup.child_process",
    "domain": "bringup.domain",
    "engines.beside": "engines.background_load",
    "engines.nvidia": "engines.tensorrt",
    "engines.nvidia.cuda_memory": "engines.tensorrt.cuda_memory",
    "engines.nvidia.plan_file": "engines.tensorrt.plan_file",
    "engines.nvidia.tensorrt_library": "engines.tensorrt.library",
    "engines.oip": "engines.remote",
    "engines.oip.backoff": "engines.remote.backoff",
    "engines.oip.grpc": "engines.remote.grpc",
    "engines.oip.http": "engines.remote.http",
    "engines.oip.http_connection": "engines.remote.http_connection",
    "engines.oip.opening": "engines.remote.opening",
    "engines.oip.tensors": "engines.remote.tensors",
    "engines.oip.transport": "engines.remote.transport",
    "engines.onnx_binding": "engines.onnx.binding",
    "engines.onnx_format": "engines.onnx",
    "engines.onnx_format.file": "engines.onnx.file",
    "engines.onnx_format.metadata": "engines.onnx.metadata",
    "engines.onnx_format.protobuf": "engines.onnx.protobuf",
    "engines.onnx_providers": "engines.onnx.providers",
    "engines.picture_front": "engines.image_preprocessing",
    "engines.quiet_openvino": "engines.openvino.library",
    "engines.torch": "engines.pytorch.torch",
    "engines.torch_export": "engines.pytorch.torch_export",
    "engines.torchscript": "engines.pytorch.torchscript",
    "environment": "bringup.tuning",
    "graph": "bringup.robot",
    "measure.cuda_runtime": "devices.cuda_runtime",
    "measure.device": "devices.device",
    "measure.gpu": "devices.gpu",
    "measure.memory": "devices.process_memory",
    "measure.torch_device": "devices.torch_device",
    "middleware": "bringup.middleware",
    "nodes.actions": "nodes.policy.actions",
    "nodes.compressed": "nodes.images.compressed",
    "nodes.definitions": "nodes.ros.definitions",
    "nodes.encodings": "nodes.images.encodings",
    "nodes.faults": "nodes.reports.faults",
    "nodes.graph_check": "nodes.graph.graph_check",
    "nodes.guarded_executor": "nodes.ros.guarded_executor",
    "nodes.heard": "nodes.reports.heard",
    "nodes.hot_swap": "nodes.engine.hot_swap",
    "nodes.image_input": "nodes.images.image_input",
    "nodes.inference": "nodes.engine.inference",
    "nodes.latest_image": "nodes.images.latest_image",
    "nodes.log": "nodes.ros.log",
    "nodes.machine_status": "nodes.monitor.machine_status",
    "nodes.message_types": "nodes.ros.message_types",
    "nodes.messages": "nodes.reports.messages",
    "nodes.observer": "nodes.monitor.observer",
    "nodes.other_senders": "nodes.policy.other_senders",
    "nodes.pacer": "nodes.ros.pacer",
    "nodes.parameters": "nodes.ros.parameters",
    "nodes.player": "nodes.recording.player",
    "nodes.policy_parameters": "nodes.policy.parameters",
    "nodes.qos_check": "nodes.graph.qos_check",
    "nodes.raw_image": "nodes.images.raw_image",
    "nodes.raw_input": "nodes.ros.raw_input",
    "nodes.recorded_reports": "nodes.recording.reports",
    "nodes.recorded_topics": "nodes.recording.topics",
    "nodes.recorder_parameters": "nodes.recording.parameters",
    "nodes.reporting": "nodes.reports.reporter",
    "nodes.runner": "nodes.ros.runner",
    "nodes.subscription": "nodes.ros.subscription",
    "nodes.topic_probe": "nodes.graph.topic_probe",
    "nodes.waiting": "nodes.ros.request_bounds",
    "nodes.watched": "nodes.monitor.watched_node",
    "recording.analysis.chart": "report.scales",
    "recording.analysis.report": "report.report",
    "recording.analysis.report_charts": "report.charts",
    "recording.analysis.report_style": "report.style",
    "recording.analysis.report_tables": "report.tables",
    "recording.analysis.source": "recording.analysis.open",
    "recording.analysis.svg": "report.svg",
    "recording.analysis.words": "recording.analysis.text",
    "recording.bag_file": "recording.message",
    "recording.bags.convert": "recording.convert",
    "recording.bags.damage": "recording.damage",
    "recording.bags.message_packing": "recording.bags.packed_file",
    "recording.bags.source": "recording.open",
    "recording.write": "recording.bags.bag_writer",
    "search_path": "bringup.search_path",
    "shared_memory": "bringup.shared_memory",
    "supervisor": "bringup.supervisor",
    "tasks.caption": "tasks.language.caption",
    "tasks.image": "tasks.vision.image",
    "tasks.picture": "tasks.vision.image",
    "tasks.yolo": "tasks.vision.task",
}
"""Old path and new path, both within the package."""


def _warn(old: str, new: str, level: int) -> None:
    warnings.warn(f"{old} has moved to {new}; the old path goes with the next release", DeprecationWarning, level + 1)


class _Moved:  # without the base classes of importlib.abc, whose import takes 10 ms in every process
    """Gives the module of the new path where the old one is imported."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if not name.startswith(_PACKAGE) or name.removeprefix(_PACKAGE) not in MOVED:
            return None
        return ModuleSpec(name, self)  # type: ignore[arg-type]

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        new = _PACKAGE + MOVED[spec.name.removeprefix(_PACKAGE)]
        _warn(spec.name, new, 2)
        module = ModuleType(spec.name)
        module.__dict__["_new"] = importlib.import_module(new)
        return module

    def exec_module(self, module: ModuleType) -> None:
        sys.modules[module.__name__] = module.__dict__["_new"]  # the import system takes what stands here


def serve_old_paths() -> None:
    """Let imports of old paths find the new ones."""
    if not any(isinstance(finder, _Moved) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Moved())


def forwarded(package: str, module: str, name: str) -> Any:
    """Return `name` of `package.module` for a module that became a package of its name (its `__getattr__`)."""
    if not name.startswith("_") and find_spec(f"{package}.{name}") is None:  # a module of it is imported as such
        new = importlib.import_module(f"{package}.{module}")
        if hasattr(new, name):
            _warn(f"{package}.{name}", f"{package}.{module}.{name}", 2)
            return getattr(new, name)
    raise AttributeError(f"module '{package}' has no attribute '{name}'")
