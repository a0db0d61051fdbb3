"""Tokenizers: plain text, chat formats and control tokens."""
