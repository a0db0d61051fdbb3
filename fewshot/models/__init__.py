"""Pretrained models behind two protocols of one method (`fewshot.models.base`); `fewshot.models.kinds` lists them."""
