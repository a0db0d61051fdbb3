"""Every gradient: the training loop, its planning, copies of models, new layers and continued pretraining."""
