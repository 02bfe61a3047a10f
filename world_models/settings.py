"""Settings of the video world model and of its training, with the presets of the two tiers."""

from dataclasses import dataclass, replace

from robot.errors import ConfigError

CELL = 8  # pixels of a side that one latent cell stands for


@dataclass(frozen=True)
class VideoModelConfig:
    """What the model is made of and how it is trained.

    Deterministic is the same network without noise: it regresses the mean in one step, the baseline that the sampled
    model must match.
    """

    image_size: int = 48
    ticks_per_frame: int = 4
    chunk: int = 4  # new frames of one call
    memory: int = 3
    horizon: int = 20  # frames it may be chained
    latent_channels: int = 16
    codec_widths: tuple[int, ...] = (48, 96)  # at a quarter and at an eighth of the side
    patch: int = 2  # latent cells of a token's side
    width: int = 128
    heads: int = 4
    blocks: int = 4
    with_command: bool = True  # the network reads the command in force beside its change
    code_bins: int = 21  # it reads both as two-hot codes of so many bins too; 0: as plain numbers alone
    deterministic: bool = False
    sample_steps: int = 4
    codec_steps: int = 1000
    steps: int = 1500
    head_steps: int = 100
    codec_batch: int = 64
    batch_size: int = 32
    head_batch: int = 16
    codec_rate: float = 2e-3
    learning_rate: float = 1e-3
    warmup_steps: int = 100
    weight_decay: float = 1e-4
    average_decay: float = 0.995  # of the moving average that is used
    memory_noise: float = 0.1
    lockstep_share: float = 0.3  # batches' share of windows whose new frames have one noise level
    pure_noise_share: float = 0.1
    level_ramp: float = 0.9  # share of a clean frame's weight in the loss that a frame of pure noise lacks
    cold_start_share: float = 0.15
    action_dropout: float = 0.1
    view_dropout: float = 0.05
    head_weight: float = 0.1
    validation_share: float = 0.1  # of the episodes, whole start cells together
    device: str = "cpu"
    precision: str = "float32"  # of training; or bfloat16
    compiled: bool = False

    def __post_init__(self) -> None:
        if self.image_size % (CELL * self.patch):
            raise ConfigError(
                f"image_size {self.image_size} must be a multiple of {CELL} pixels times patch {self.patch}"
            )
        if self.width % (2 * self.heads):
            raise ConfigError(f"width {self.width} must be a multiple of twice the heads ({self.heads})")
        if min(self.chunk, self.memory, self.blocks, self.sample_steps, self.ticks_per_frame) < 1:
            raise ConfigError("chunk, memory, blocks, sample_steps and ticks_per_frame must be 1 or more")
        if len(self.codec_widths) != 2:
            raise ConfigError(f"codec_widths {self.codec_widths}: expected two, of a quarter and an eighth of the side")
        if self.precision not in ("float32", "bfloat16"):
            raise ConfigError(f"precision is '{self.precision}', allowed: float32, bfloat16")

    @property
    def cells(self) -> int:
        """Return the side of a view's latent map."""
        return self.image_size // CELL

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        return (self.latent_channels, self.cells, self.cells)


_GPU = VideoModelConfig(
    image_size=128,
    chunk=4,
    memory=4,
    latent_channels=8,
    codec_widths=(96, 192),
    width=512,
    heads=8,
    blocks=12,
    codec_steps=4000,
    steps=2500,
    head_steps=500,
    batch_size=128,
    codec_batch=256,
    head_batch=64,
    learning_rate=3e-4,
    warmup_steps=200,
    average_decay=0.999,
    device="cuda",
    precision="bfloat16",
    compiled=True,
)

# Simulation has no chance in it: what is to be learned is what actions do to pure noise, so that counts most here.
_CPU = VideoModelConfig(
    sample_steps=2,  # 4 gave twice the variance between seeds, and frames further from the truth
    codec_steps=1500,
    steps=3000,
    learning_rate=2e-3,
    lockstep_share=0.5,  # as a sampler has it
    pure_noise_share=0.2,
    level_ramp=0.0,
    precision="bfloat16",  # 1.6 times as fast where the processor multiplies it (AMX)
)

PRESETS = {
    "cpu": _CPU,
    "cpu_mean": replace(_CPU, deterministic=True, sample_steps=1),
    "gpu": _GPU,
    "debug": VideoModelConfig(
        image_size=32,
        codec_widths=(24, 32),
        latent_channels=8,
        width=48,
        heads=2,
        blocks=2,
        codec_steps=150,
        steps=120,
        head_steps=10,
        codec_batch=32,
        batch_size=16,
        head_batch=8,
        warmup_steps=10,
        average_decay=0.97,
        learning_rate=2e-3,
    ),
}
