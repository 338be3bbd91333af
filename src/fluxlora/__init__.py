"""Train a FLUX.1 LoRA with SimpleTuner on a GPU rented from vast.ai."""
