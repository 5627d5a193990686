"""The methods of `DetDiffusionPipeline` that diffusers' pipelines have and that draw nothing."""

from __future__ import annotations

import os
import tempfile
import warnings
from pathlib import Path
from typing import Any

import torch
from diffusers.loaders import StableDiffusionLoraLoaderMixin

from detdiffusion.core.devices import device_of
from detdiffusion.core.parts import MANIFEST
from detdiffusion.diffusion.habits.hub import push
from detdiffusion.diffusion.habits.lora import check_peft, lora_file, unknown_layers
from detdiffusion.diffusion.habits.model_card import model_card
from detdiffusion.diffusion.manifest import write_manifest
from detdiffusion.errors import CheckpointError, ConfigError, why
from detdiffusion.text.vocabulary import VOCABULARY_FILE, Vocabulary


class DiffusersHabits(StableDiffusionLoraLoaderMixin):  # type: ignore[misc]
    """Devices, memory, LoRA and the hub, for a pipeline of diffusers with a vocabulary.

    A call sets `_guidance_scale`, `_num_timesteps` and `_interrupt`, which callbacks read and may set.
    """

    vocabulary: Vocabulary
    vae: Any
    unet: Any
    text_encoder: Any
    compiled: Any
    _guidance_scale = 1.0
    _num_timesteps = 0
    _interrupt = False

    @property
    def guidance_scale(self) -> float:
        """Of classifier-free guidance in this call; 1 or less: it is off."""
        return self._guidance_scale

    @property
    def do_classifier_free_guidance(self) -> bool:
        """Whether guidance is on."""
        return self._guidance_scale > 1

    @property
    def num_timesteps(self) -> int:
        """Forwards of the U-Net in this call, known after the first."""
        return self._num_timesteps

    @property
    def interrupt(self) -> bool:
        """True after a callback has asked to end the sampling."""
        return self._interrupt

    def to(self, *args: Any, **kwargs: Any) -> Any:
        """As diffusers'. ConfigError with the reason: this machine has no such device."""
        for device in (*args, kwargs.get("device")):
            if isinstance(device, torch.device | str) and str(device) not in ("cpu", "meta"):
                device_of(str(device), "device")
        return super().to(*args, **kwargs)

    def enable_vae_slicing(self) -> None:
        """Decodes image by image: less memory for large batches."""
        self.vae.enable_slicing()

    def disable_vae_slicing(self) -> None:
        """Decodes batches as a whole again."""
        self.vae.disable_slicing()

    def enable_vae_tiling(self) -> None:
        """Decodes images in tiles: less memory for large ones."""
        self.vae.enable_tiling()

    def disable_vae_tiling(self) -> None:
        """Decodes images as a whole again."""
        self.vae.disable_tiling()

    def load_lora_weights(
        self, pretrained_model_name_or_path_or_dict: Any, adapter_name: str | None = None, **kwargs: Any
    ) -> None:
        """As diffusers', of a file, a folder, a hub id or a dict of tensors; pickles are not opened.

        Raises:
            CheckpointError: there is no such file, or none of its layers is one of this model's.
            ConfigError: peft is not installed, or OpenVINO computes this model.
        """
        check_peft()
        if self.compiled is not None:
            raise ConfigError("OpenVINO has compiled this model's own weights: load it with device='cpu' for LoRA")
        source = pretrained_model_name_or_path_or_dict
        if (path := lora_file(source, kwargs.get("weight_name"))) is not None:
            source, kwargs = str(path.parent), {**kwargs, "weight_name": path.name}
        if not isinstance(source, dict):
            kwargs["use_safetensors"] = True
        try:
            state, *_ = self.lora_state_dict(source, **kwargs)
            named, unknown = unknown_layers(state, self.unet, self.text_encoder)
            shown = (", ".join(unknown[:4]) or "none") + (f" and {len(unknown) - 4} more" if len(unknown) > 4 else "")
            if len(unknown) == len(named):
                raise CheckpointError(f"no layer of these LoRA weights is one of this model's; they name {shown}")
            super().load_lora_weights(source, adapter_name, **kwargs)
        except (OSError, ValueError, RuntimeError, KeyError) as error:
            raise CheckpointError(f"these LoRA weights do not fit this model: {why(error)}") from error
        if unknown:
            warnings.warn(f"{len(unknown)} of {len(named)} LoRA layers are none of this model's: {shown}", stacklevel=2)

    def save_pretrained(self, folder: str | os.PathLike[str], **kwargs: Any) -> None:
        """As diffusers', and vocabulary.json; a manifest that lies there already is written anew."""
        hub = {name: kwargs.pop(name) for name in _HUB_WORDS if name in kwargs}
        path = Path(folder)
        super().save_pretrained(str(path), **kwargs)
        (path / VOCABULARY_FILE).write_text(self.vocabulary.to_text())
        if (path / MANIFEST).is_file():
            write_manifest(path)
        if hub.pop("push_to_hub", False):
            self._push(path, hub.pop("repo_id", None) or path.name, hub)

    def push_to_hub(self, repo_id: str, **kwargs: Any) -> str:
        """Uploads the model as a commit of the Hugging Face hub: its folder, a model card made from it, and a manifest.

        Args:
            repo_id: `owner/name`, or a name of one's own.
            kwargs: private, token, create_pr and commit_message as in diffusers; others go to `save_pretrained`.
        """
        hub = {name: kwargs.pop(name) for name in _HUB_WORDS if name in kwargs}
        with tempfile.TemporaryDirectory() as scratch:
            self.save_pretrained(scratch, **kwargs)
            return str(self._push(Path(scratch), repo_id, hub))

    def _push(self: Any, folder: Path, repository: str, options: dict[str, Any]) -> str:
        (folder / "README.md").write_text(model_card(folder, repository, self.native_size), encoding="utf-8")
        write_manifest(folder)
        return push(folder, repository, options)


_HUB_WORDS = ("push_to_hub", "repo_id", "private", "token", "create_pr", "commit_message")
