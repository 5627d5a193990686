"""A config -> the model before its first step: from a Stable Diffusion folder, or small and from nothing."""

from pathlib import Path

from detdiffusion.core.assets import BUNDLED_MODEL
from detdiffusion.diffusion.habits.hub import HubOptions
from detdiffusion.diffusion.manifest import read_vocabulary
from detdiffusion.diffusion.pipeline import DetDiffusionPipeline
from detdiffusion.diffusion.sampling import make_scheduler
from detdiffusion.diffusion.stable_diffusion import pipeline_from_stable_diffusion
from detdiffusion.diffusion.untrained import new_pipeline
from detdiffusion.errors import ConfigError
from detdiffusion.models.control import EMBEDDING_CHANNELS
from detdiffusion.sampling_config import Recommended
from detdiffusion.text.vocabulary import Vocabulary
from training.autoencoder.loading import Autoencoder, load_autoencoder
from training.data.datasets import Dataset
from training.generator.config import GeneratorConfig
from training.generator.latents import cell_size, latent_size
from training.generator.start import start_from

NO_WORDS = ()
SCHEDULE = {"beta_schedule": "squaredcos_cap_v2", "prediction_type": "v_prediction"}  # of models from nothing


def new_model(
    config: GeneratorConfig, dataset: Dataset, base: str | None, revision: str | None = None
) -> DetDiffusionPipeline:
    """The model for the classes of a data set; float32 on the CPU. revision: of a base that is a hub id.

    Raises:
        ConfigError: the preset needs a base, or the size does not fit it.
        CheckpointError: the base cannot be read.
    """
    if config.unet is None:
        if config.start:
            raise ConfigError("a preset that fine-tunes Stable Diffusion begins as its --base: leave start empty")
        return _fine_tuned(config, dataset, base, HubOptions(revision=revision))
    return small_model(config, *_classes(config, dataset), load_autoencoder(Path(base or BUNDLED_MODEL)))


def _classes(config: GeneratorConfig, dataset: Dataset) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Things and stuff: those of the start, where it knows all classes of the data."""
    if config.start:
        known = read_vocabulary(Path(config.start))
        if set(dataset.things) <= set(known.things) and set(dataset.stuff) <= set(known.stuff):
            return known.things, known.stuff
    return dataset.things, dataset.stuff


def small_model(
    config: GeneratorConfig, things: tuple[str, ...], stuff: tuple[str, ...], autoencoder: Autoencoder
) -> DetDiffusionPipeline:
    """A model around a trained autoencoder, as it is before its first step: with the weights of `config.start` where
    they fit, else with random ones.

    Raises:
        ConfigError: it cannot be of the config's size, or the start has other classes or places.
        CheckpointError: the start cannot be read.
    """
    if config.unet is None or config.text is None:
        raise ConfigError("a model from nothing needs unet and text; this config has them from Stable Diffusion")
    height, width = latent_size(config, autoencoder)
    _check_controlnet(config, autoencoder)
    pipe = new_pipeline(
        vocabulary_of(config, things, stuff),
        unet_config={**config.unet, "sample_size": height if height == width else (height, width)},
        text_config=dict(config.text),
        autoencoder=autoencoder,
        scheduler_config=SCHEDULE,
        blueprint_config=None if config.blueprint is None else dict(config.blueprint),
        head_config=None if config.head is None else dict(config.head),
        seed=config.seed,
        control_config=None if config.controlnet is None else dict(config.controlnet),
    )
    if config.start:
        start_from(pipe, Path(config.start))
    sampling = Recommended.from_json(config.sampling).to_json()
    pipe.register_to_config(guidance_interval=config.guidance_interval, sampling=sampling)
    if config.tag_guidance:
        pipe.register_to_config(tag_guidance=dict(config.tag_guidance))
    pipe.scheduler = make_scheduler(pipe.scheduler, config.sampler)
    return pipe


def _check_controlnet(config: GeneratorConfig, autoencoder: Autoencoder) -> None:
    """Every width of its embedding but the first halves the image, down to the size of the latents."""
    if config.controlnet is None:
        return
    cell, widths = cell_size(autoencoder), config.controlnet.get("embedding_channels", EMBEDDING_CHANNELS)
    if 2 ** (len(widths) - 1) != cell:
        raise ConfigError(
            f"controlnet.embedding_channels are {len(widths)}, for latent cells of {2 ** (len(widths) - 1)} pixels; "
            f"this autoencoder's have {cell}: give {cell.bit_length()}"
        )


def vocabulary_of(config: GeneratorConfig, things: tuple[str, ...], stuff: tuple[str, ...]) -> Vocabulary:
    """What the model can say; without attribute words if it has none (GeoDiffusion)."""
    words = Vocabulary.attribute_words if config.attributes else NO_WORDS
    padding = config.controlnet is not None  # it cannot be told which words are padding
    return Vocabulary(things, stuff, config.grid, config.location_text, words, padding=padding)


def _fine_tuned(config: GeneratorConfig, dataset: Dataset, base: str | None, hub: HubOptions) -> DetDiffusionPipeline:
    if base is None:
        raise ConfigError("this preset fine-tunes Stable Diffusion: give its folder (or hub id) with --base")
    return pipeline_from_stable_diffusion(
        base,
        vocabulary_of(config, dataset.things, dataset.stuff),
        blueprint_config=None if config.blueprint is None else dict(config.blueprint),
        head_config=None if config.head is None else dict(config.head),
        seed=config.seed,
        size=config.size,
        control_config=None if config.controlnet is None else dict(config.controlnet),
        hub=hub,
    )
