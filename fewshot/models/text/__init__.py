"""Text and tokens: what a tokenizer makes of a text, chat formats, and tokens that steer a model."""
