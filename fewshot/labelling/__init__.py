"""From texts without a label to labels that one can trust: what to label next, which labels are wrong, which names."""
