"""Device, precision, threads and processes of a stage, through Lightning Fabric."""

import logging
import os
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import torch

from rsvp.config.schema import Compute
from rsvp.runtime.errors import UserError
from rsvp.runtime.followers import lead, node_count
from rsvp.runtime.gpus import VISIBLE

if TYPE_CHECKING:  # it takes as long to import as torch, and trainings alone need it
    from lightning_fabric import Fabric

# Of a process for the first one, which may validate meanwhile; that it has ended shows at once.
LONGEST_WAIT = timedelta(days=30)
logger = logging.getLogger(__name__)


def device_of(compute: Compute) -> torch.device:
    """Return the GPU where there is one and the config does not forbid it, else the CPU.

    UserError where the config asks for a GPU and there is none.
    """
    if compute.device == "cuda" and not torch.cuda.is_available():
        raise UserError(
            "config: compute.device: 'cuda', but PyTorch finds no GPU; allowed here: auto, cpu"
        )
    on_gpu = compute.device != "cpu" and torch.cuda.is_available()
    if compute.device == "auto" and not on_gpu and os.environ.get(VISIBLE):
        logger.warning(
            "on the CPU: PyTorch %s cannot use the GPU %s; rsvp doctor says more",
            torch.__version__, os.environ[VISIBLE],
        )  # fmt: skip
    return torch.device("cuda" if on_gpu else "cpu")


def has_bfloat16() -> bool:
    """Check whether the GPU computes in bfloat16.

    By default PyTorch counts emulation, too, in which training is slower than in 32 bit.
    """
    return torch.cuda.is_bf16_supported(including_emulation=False)


@dataclass(frozen=True)
class Inference:
    """The device and the precision of a stage that runs networks and trains none."""

    device: torch.device
    precision: str

    def autocast(self) -> AbstractContextManager[None]:
        """Compute in the precision, as Fabric does in training."""
        if self.precision == "32-true":
            return nullcontext()
        return torch.autocast(self.device.type, dtype=torch.bfloat16)


def start_inference(compute: Compute, seed: int = 0) -> Inference:
    """Set PyTorch up as `make_fabric` does, in one process and without Fabric."""
    device, precision = set_up_torch(compute)
    if device.type == "cuda":
        device = torch.device("cuda", 0)
        torch.cuda.set_device(device)
    torch.set_num_threads(compute.threads)
    torch.manual_seed(seed)
    return Inference(device, precision)


def set_up_torch(compute: Compute) -> tuple[torch.device, str]:
    """Set what makes results deterministic, and TF32; return the device and the precision.

    Automatic precision is bfloat16 mixed on GPUs that have it, else 32 bit.
    """
    if compute.deterministic:
        # cuBLAS reads it when CUDA starts; without it PyTorch refuses matrix products.
        # https://docs.nvidia.com/cuda/cublas/#results-reproducibility
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
        torch.backends.cudnn.benchmark = False
    device = device_of(compute)
    precision: str = compute.precision
    if precision == "auto":
        precision = "bf16-mixed" if device.type == "cuda" and has_bfloat16() else "32-true"
    if device.type == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = True
        torch.backends.cudnn.allow_tf32 = True
    return device, precision


def make_fabric(compute: Compute, seed: int = 0, processes: int = 1) -> "Fabric":
    """Return a launched Fabric: the GPU when there is one, else the CPU.

    Of several processes, each has a GPU of its own; the first one starts the others, but on
    several nodes (`rsvp.runtime.followers`).
    """
    from lightning_fabric import Fabric
    from lightning_fabric.plugins.environments import LightningEnvironment
    from lightning_fabric.strategies import DDPStrategy

    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # importing it sets INFO
    device, precision = set_up_torch(compute)
    on_gpu = device.type == "cuda"
    nodes = node_count() if processes > 1 else 1
    local = processes // nodes
    if on_gpu and processes > 1 and torch.cuda.device_count() < local:
        found = torch.cuda.device_count()
        raise UserError(f"{local} processes need a GPU each, and PyTorch finds {found}")
    # CPU tensors travel, too: what the first process decides.
    backend = "cpu:gloo,cuda:nccl" if on_gpu else "gloo"
    shared = DDPStrategy(process_group_backend=backend, timeout=LONGEST_WAIT)
    fabric = Fabric(
        accelerator="cuda" if on_gpu else "cpu",
        devices=local,
        num_nodes=nodes,
        strategy="auto" if processes == 1 else shared,
        precision=precision,  # type: ignore[arg-type]
        # In a job of a scheduler Fabric would take the job's tasks for the processes.
        plugins=[LightningEnvironment()],
    )
    if processes > 1:
        lead()
    fabric.launch()
    # Fabric sets the threads of several processes by the machine's cores.
    torch.set_num_threads(compute.threads)
    torch.manual_seed(seed)
    return fabric


def full_precision() -> AbstractContextManager[None]:
    """Convolve in float32 on a GPU, too, where PyTorch takes TF32 otherwise."""
    # `flags` switches off what it is not told to leave on.
    return torch.backends.cudnn.flags(enabled=True, allow_tf32=False)


def device_name(fabric: "Fabric | Inference") -> str:
    """Return the device's name as people know it."""
    if fabric.device.type == "cuda":
        return torch.cuda.get_device_name(fabric.device)
    return "cpu"
