"""What those who know diffusers expect of a pipeline: noise, callbacks, offloading, LoRA, the hub, model cards."""
