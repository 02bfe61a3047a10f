"""lerobot's conditional U-Net with the weights of ours: to hold the two against each other."""

from types import SimpleNamespace

from torch import nn

from policies.base.conditional_unet import ConditionalUnet
from robot.errors import MissingDependency


def reference_unet(ours: ConditionalUnet) -> nn.Module:
    """Return lerobot's module, called as `module(chunks, times, features)`, with the weights of ours.

    Raises:
        MissingDependency: lerobot is not installed.
    """
    try:
        from lerobot.policies.diffusion.modeling_diffusion import (  # pyright: ignore[reportMissingImports]
            DiffusionConditionalUnet1d,
        )
    except ImportError as error:
        raise MissingDependency(f"no lerobot ({error}): make install CONSTRAINTS=constraints/lerobot.txt") from error
    first = ours.down_modules[0][0].conv1.block  # type: ignore[index]
    time, features = ours.sizes
    config = SimpleNamespace(
        down_dims=tuple(level[0].conv1.block[0].out_channels for level in ours.down_modules),  # type: ignore[index]
        kernel_size=first[0].kernel_size[0],
        n_groups=first[1].num_groups,
        diffusion_step_embed_dim=time,
        use_film_scale_modulation=True,
        gradient_checkpointing=False,
        action_feature=SimpleNamespace(shape=(first[0].in_channels,)),
    )
    module = DiffusionConditionalUnet1d(config, global_cond_dim=features)
    module.load_state_dict(ours.state_dict())
    return module.eval()
