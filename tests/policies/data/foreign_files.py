"""Small files in the exact layout of robomimic's HDF5 and of diffusion policy's replay buffer."""

import json
from pathlib import Path

import numpy as np
import zarr

STEPS = (7, 5)
CHANCE = np.random.default_rng(0)


def write_robomimic(path: Path, rate_hz: int = 20) -> dict[str, np.ndarray]:
    """Write two demonstrations, the second of which failed; return the arrays of the first."""
    import h5py

    with h5py.File(path, "w") as file:
        data = file.create_group("data")
        data.attrs["total"] = sum(STEPS)
        data.attrs["env_args"] = json.dumps(
            {"env_name": "Lift", "type": 1, "env_kwargs": {"control_freq": rate_hz, "robots": ["Panda"]}}
        )
        kept: dict[str, np.ndarray] = {}
        for number, steps in enumerate(STEPS):
            demo = data.create_group(f"demo_{number}")
            demo.attrs["num_samples"] = steps
            arrays = {
                "actions": CHANCE.uniform(-1, 1, (steps, 7)),
                "rewards": np.eye(steps)[-1] * (number == 0),
                "dones": np.eye(steps)[-1].astype(int) * (number == 0),
                "states": CHANCE.normal(size=(steps, 32)),
                "obs/robot0_eef_pos": CHANCE.normal(size=(steps, 3)),
                "obs/robot0_gripper_qpos": CHANCE.normal(size=(steps, 2)),
                "obs/agentview_image": np.repeat(np.arange(steps, dtype=np.uint8) * 30, 48 * 48 * 3).reshape(
                    -1, 48, 48, 3
                ),
            }
            arrays["next_obs/robot0_eef_pos"] = arrays["obs/robot0_eef_pos"]
            for name, array in arrays.items():
                demo.create_dataset(name, data=array)
            kept = kept or arrays
        file.create_group("mask").create_dataset("train", data=np.array([b"demo_0"]))
    return kept


def write_replay_buffer(path: Path, zarr_format: int = 2) -> dict[str, np.ndarray]:
    """Write two episodes of pushed blocks; return the arrays."""
    rows = sum(STEPS)
    arrays = {
        "action": CHANCE.uniform(0, 512, (rows, 2)).astype(np.float32),
        "state": CHANCE.uniform(0, 512, (rows, 5)).astype(np.float32),
        "keypoint": CHANCE.uniform(0, 512, (rows, 9, 2)).astype(np.float32),
        "n_contacts": np.ones((rows, 1), np.float32),
        "img": np.repeat(np.arange(rows, dtype=np.float32) * 20, 96 * 96 * 3).reshape(-1, 96, 96, 3),
    }
    root = zarr.create_group(path, zarr_format=zarr_format)  # type: ignore[arg-type]
    for name, array in arrays.items():
        root.create_array(f"data/{name}", data=array, chunks=(5, *array.shape[1:]))
    root.create_array("meta/episode_ends", data=np.cumsum(STEPS).astype(np.int64))
    return arrays
