"""The config tree: settings are typed, presets and variants differ where they should, another config is refused."""

import ast
import dataclasses
import json
from pathlib import Path

import pytest

from detdiffusion.core.settings import keep_settings
from detdiffusion.errors import ConfigError
from detdiffusion.models.autoencoder import SmallAutoencoder
from detdiffusion.models.config import LossConfig
from detdiffusion.sampling_config import WHOLE_SCHEDULE
from training.core.settings import with_settings
from training.data.papercut.classes import STUFF, THINGS
from training.generator.config import ADDED, FINE_TUNE, OLD_NAMES, PRESETS, TRAIN_PRESETS, VARIANTS, GeneratorConfig
from training.generator.model import small_model

ROOT = Path(__file__).resolve().parents[3]
BASES = ("papercut-cpu", "papercut-cpu-16", "papercut-gpu", "sd15-256", "sd15-512", "sd15-800x456")


@pytest.mark.parametrize(
    ("setting", "field", "value"),
    [
        ("steps=7", "steps", 7),
        ("learning_rate=1e-4", "learning_rate", 1e-4),
        ("learning_rate=1", "learning_rate", 1.0),
        ("size=[64, 128]", "size", (64, 128)),
        ("betas=[0.9, 0]", "betas", (0.9, 0.0)),
        ("gradient_checkpointing=true", "gradient_checkpointing", True),
        ("precision=fp32", "precision", "fp32"),
        ('location_text="<at {}>"', "location_text", "<at {}>"),
        ("location_text=<l{}=>", "location_text", "<l{}=>"),
        ("blueprint=null", "blueprint", None),
        ('unet={"layers_per_block": 2}', "unet", {"layers_per_block": 2}),
    ],
)
def test_a_setting_becomes_its_field(tiny: GeneratorConfig, setting: str, field: str, value: object) -> None:
    changed = with_settings(tiny, [setting])
    assert changed == dataclasses.replace(tiny, **{field: value})
    assert type(getattr(changed, field)) is type(value)


def test_a_field_of_the_loss_has_a_dot_and_later_settings_win(tiny: GeneratorConfig) -> None:
    changed = with_settings(tiny, ["loss.use_dice=false", "loss.foreground_power=1", "steps=3", "steps=4"])
    loss = dataclasses.replace(tiny.loss, use_dice=False, foreground_power=1.0)
    assert changed == dataclasses.replace(tiny, loss=loss, steps=4)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("steps", "'steps': --set takes field=value"),
        ("learning_rat=1", "--set learning_rat: there is no such field; did you mean learning_rate?"),
        ("loss.use_dise=true", "--set loss.use_dise: there is no such field; did you mean use_dice?"),
        ("zzz=1", "--set zzz: there is no such field"),
        ("steps.more=1", "--set steps.more: there is no such field"),
        ("steps=1.5", "--set steps=1.5: needs a value like 8"),
        ("steps=true", "--set steps=True: needs a value like 8"),
        ("steps=many", "--set steps=many: needs a value like 8"),
        ("loss.use_dice=1", "--set loss.use_dice=1: needs a value like true"),
        ("loss=1", "--set loss=1: set its fields, such as loss.perception_weight"),
        ("size=[64]", "needs a value like [64, 64]"),
        ("size=[64, 1.5]", "--set size=1.5: needs a value like 64"),
        ("precision=1", 'needs a value like "fp32"'),
        ("head=3", "needs a JSON object"),
        ("steps=0", "steps is 0, and needs to be 1 or more"),
        ("keep=0", "keep is 0, and needs to be 1 or more"),
        ("flip=1.5", "flip is 1.5, and needs to be between 0 and 1"),
        ("learning_rate=0", "learning_rate is 0.0, and needs to be above 0"),
        ("learning_rate=NaN", "learning_rate is nan, and needs to be above 0"),
        ("weight_decay=-1", "weight_decay is -1.0, and needs to be 0 or more"),
        ("sample_steps=-1", "sample_steps is -1, and needs to be 0 or more"),
        ("betas=[0.9, 1]", "betas are (0.9, 1.0), and need to be 0 or more and below 1"),
        ("size=[0, 64]", "size is (0, 64), and needs a height and a width of 1 or more"),
        ("precision=fp16", "precision is 'fp16'; there are bf16 and fp32"),
        ("optimizer=adam", "optimizer is 'adam'; there are adamw and muon"),
        ("muon_learning_rate=0", "muon_learning_rate is 0.0, and needs to be above 0"),
        ("ema_length=0.5", "ema_length is 0.5, and needs to be between 0 and 0.28"),
        ("loss.min_snr_gamma=-1", "min_snr_gamma is -1.0, and needs to be 0 or more"),
        ("head=null", "loss.perception_weight needs a perception head"),
        ("loss.perception_weight=-1", "perception_weight needs to be 0 or more"),
    ],
)
def test_what_cannot_be_set_is_said(tiny: GeneratorConfig, setting: str, message: str) -> None:
    with pytest.raises(ConfigError) as refused:
        with_settings(tiny, [setting])
    assert message in str(refused.value)


def test_settings_that_need_each_other_are_set_together(tiny: GeneratorConfig) -> None:
    changed = with_settings(tiny, ["controlnet={}", "blueprint=null", "loss.perception_weight=0", "head=null"])
    assert (changed.controlnet, changed.blueprint, changed.head) == ({}, None, None)


def differing(one: GeneratorConfig, other: GeneratorConfig) -> set[str]:
    names = {f.name for f in dataclasses.fields(GeneratorConfig) if getattr(one, f.name) != getattr(other, f.name)}
    if "loss" in names:
        names.remove("loss")
        parts = {f.name for f in dataclasses.fields(LossConfig)}
        names |= {f"loss.{name}" for name in parts if getattr(one.loss, name) != getattr(other.loss, name)}
    return names


def test_every_preset_has_its_parent_and_the_ablations() -> None:
    names = {base + suffix for base in BASES for suffix in ("", *(f"-{variant}" for variant in VARIANTS))}
    assert set(TRAIN_PRESETS) == {FINE_TUNE, *names}


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize(
    ("variant", "fields"),
    [
        ("geodiffusion", {"attributes", "head", "loss.perception_weight"}),
        ("no-alpha-bar", {"loss.use_alpha_bar"}),
        ("no-dice", {"loss.use_dice"}),
        ("no-perception", {"head", "loss.perception_weight"}),
        ("no-attributes", {"attributes"}),
        ("no-blueprint", {"blueprint"}),
        ("geodiffusion-no-blueprint", {"attributes", "head", "loss.perception_weight", "blueprint"}),
    ],
)
def test_a_variant_changes_its_fields_alone(base: str, variant: str, fields: set[str]) -> None:
    whole, changed = TRAIN_PRESETS[base], TRAIN_PRESETS[f"{base}-{variant}"]
    assert differing(whole, changed) == fields
    assert whole.attributes and whole.loss.use_dice and whole.loss.use_alpha_bar and whole.loss.perception_weight > 0


@pytest.mark.parametrize("base", BASES)
def test_controlnet_takes_the_place_of_locations_and_blueprint(base: str) -> None:
    whole, baseline = TRAIN_PRESETS[base], TRAIN_PRESETS[f"{base}-controlnet"]
    fields = {"attributes", "head", "loss.perception_weight", "blueprint", "location_text", "controlnet"}
    assert differing(whole, baseline) == fields | ({"unet"} if whole.unet else {"control_only"})
    if whole.unet is not None:
        ours, its = (parameters(config) for config in (whole, baseline))
        assert its == pytest.approx(ours, rel=0.01), "size decides nothing"


def test_a_controlnet_of_other_cells_is_refused() -> None:
    config = TRAIN_PRESETS["papercut-cpu-controlnet"]
    needs = r"embedding_channels are 4, for latent cells of 8 pixels; this autoencoder's have 16: give 5"
    with pytest.raises(ConfigError, match=needs):
        small_model(config, ("car",), (), SmallAutoencoder((8,) * 4, (1,) * 4, 16))


def test_coarse_latents_have_a_fine_blueprint_and_masks() -> None:
    bundle, config = PRESETS["cpu-16"], TRAIN_PRESETS["papercut-cpu-16"]
    assert bundle.generator == config and bundle.samples.mask_scale % config.mask_scale == 0
    pipe = small_model(config, THINGS, STUFF, SmallAutoencoder((8,) * 4, (1,) * 4, 16))
    assert pipe.native_size == (256, 256) and pipe.unet.config.sample_size == 16
    assert (pipe.blueprint.config.scale, pipe.perception_head.config.scale) == (4, 2)
    assert sum(p.numel() for p in pipe.unet.parameters()) * 2 < 33e6, "bytes, as it is shipped"


def parameters(config: GeneratorConfig) -> int:
    """Of U-Net and ControlNet."""
    levels = 4 if config.unet and config.unet["sample_size"] == 16 else 3
    pipe = small_model(config, THINGS, STUFF, SmallAutoencoder((8,) * levels, (1,) * levels, 4 * 2 ** (levels - 2)))
    parts = (pipe.unet, pipe.controlnet)
    return sum(p.numel() for part in parts if part is not None for p in part.parameters())


def test_presets_follow_the_recipe() -> None:
    for name, config in TRAIN_PRESETS.items():
        if name.startswith("sd15"):
            assert (config.unet, config.text) == (None, None)
            assert config.location_text == ("" if config.controlnet is not None else "<l{}>")
            assert (config.learning_rate, config.text_layer_decay, config.flip) == (1.5e-4, 0.95, 0.5)
            assert config.batch * config.steps == pytest.approx(60 * 118_287, rel=0.01), "60 epochs of COCO"
        assert not config.batch % config.micro_batch
    assert [TRAIN_PRESETS[f"sd15-{size}"].size for size in ("256", "512", "800x456")] == [
        (256, 256),
        (512, 512),
        (456, 800),
    ]


def test_the_masks_of_samples_fit_the_head() -> None:
    bundle = PRESETS["cpu"]
    fine = dataclasses.replace(bundle.generator, head={"width": 40, "scale": 2})
    assert (bundle.generator.mask_scale, fine.mask_scale) == (1, 2)
    assert dataclasses.replace(fine, head=None, loss=LossConfig(perception_weight=0)).mask_scale == 1
    finer = dataclasses.replace(bundle.samples, mask_scale=4)
    assert dataclasses.replace(bundle, generator=fine, samples=finer).generator == fine
    with pytest.raises(
        ConfigError, match=r"samples\.mask_scale is 1, and needs to be a multiple of the head's scale 2"
    ):
        dataclasses.replace(bundle, generator=fine)


def test_a_config_survives_json(tmp_path: Path) -> None:
    for config in TRAIN_PRESETS.values():
        tree = json.loads(json.dumps(config.to_json()))
        assert tree == config.to_json()
        path = tmp_path / "config.json"
        path.write_text(json.dumps(tree))
        keep_settings(path, config.to_json())


def test_a_run_that_lacks_newer_fields_goes_on(tmp_path: Path) -> None:
    path, bundle = tmp_path / "config.json", PRESETS["cpu"]
    held_out = dataclasses.replace(bundle.held_out, centred=False, alone_scenes=0)
    generator = dataclasses.replace(
        bundle.generator, guidance_interval=WHOLE_SCHEDULE, sampling={}, tag_guidance={}, sampler=""
    )
    bundle = dataclasses.replace(bundle, held_out=held_out, generator=generator)
    old = bundle.to_json()
    parts = (old["detector"], old["held_out"], old["samples"], old["generator"], old["generator"]["loss"])
    gone = [(name, part.pop(name)) for part in parts for name in ADDED if name in part]
    assert {name for name, _ in gone} == set(ADDED)
    assert all(value == ADDED[name] for name, value in gone), "as they were before there was such a field"
    path.write_text(json.dumps(old))
    keep_settings(path, bundle.to_json(), OLD_NAMES, ADDED)


def test_another_config_is_refused_with_its_fields(tiny: GeneratorConfig, tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"config": tiny.to_json(), "base": None}))
    other = with_settings(tiny, ["steps=9", "loss.use_dice=false", "size=[64, 128]"])
    with pytest.raises(ConfigError) as refused:
        keep_settings(path, {"config": other.to_json(), "base": "b"})
    said = str(refused.value)
    assert "config.steps was 8, is 9" in said and "config.loss.use_dice was True, is False" in said
    assert "config.size was [64, 64], is [64, 128]" in said and "base was None, is 'b'" in said
    assert "learning_rate" not in said and "--out" in said


def fields_read() -> set[str]:
    """Names behind `config.` or `loss.`, in the code of the generator outside config.py."""
    paths = [*(ROOT / "training" / "generator").glob("*.py"), *(ROOT / "detdiffusion" / "models").glob("*.py")]
    trees = (ast.parse(path.read_text(encoding="utf-8")) for path in paths if path.name != "config.py")
    found = (node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Attribute))
    return {node.attr for node in found if _last_name(node.value) in ("config", "loss")}


def _last_name(node: ast.expr) -> str:
    """Of `config` and of `self.config`: config."""
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


def test_every_field_is_read_somewhere() -> None:
    fields = {field.name for kind in (GeneratorConfig, LossConfig) for field in dataclasses.fields(kind)}
    read = fields_read()
    assert not fields - read
    assert "width" not in read, "names behind anything else count for nothing"
